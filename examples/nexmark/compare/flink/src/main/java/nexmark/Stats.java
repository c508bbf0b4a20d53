package nexmark;

import java.util.Arrays;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicLongArray;

/** Counters of this JVM's one job. Sources and sinks run in the same process, so statics will do. */
public final class Stats {
    private Stats() {}

    static volatile long quarter, firstNs, quarterNs, quarterCpuNs, firstRowNs;
    static final AtomicLong emitted = new AtomicLong(), digest = new AtomicLong(), count = new AtomicLong(), rows = new AtomicLong(),
        lastSinkNs = new AtomicLong();
    static volatile double rate;            // events/s of wall time, 0 = as fast as possible
    static final AtomicLong rateStartNs = new AtomicLong();
    static final AtomicLongArray lat = new AtomicLongArray(200_000);   // 100 us buckets
    private static final ConcurrentHashMap<Long, Long> checkpointStartNs = new ConcurrentHashMap<>();
    private static final ConcurrentLinkedQueue<Long> checkpointNs = new ConcurrentLinkedQueue<>();

    static void reset() {
        firstNs = quarterNs = quarterCpuNs = firstRowNs = 0;
        for (AtomicLong x : new AtomicLong[] {emitted, digest, count, rows, lastSinkNs, rateStartNs}) x.set(0);
        for (int i = 0; i < lat.length(); i++) lat.set(i, 0);
        checkpointStartNs.clear();
        checkpointNs.clear();
    }

    static void emitted(long k) {
        long after = emitted.addAndGet(k);
        if (after >= quarter && after - k < quarter) { quarterCpuNs = cpuNs(); quarterNs = System.nanoTime(); }
    }

    /** The coordinator of the source takes part in each checkpoint first and hears last that it is complete. */
    static void checkpointStarted(long id) { checkpointStartNs.put(id, System.nanoTime()); }

    static void checkpointCompleted(long id) {
        Long start = checkpointStartNs.remove(id);
        if (start != null) checkpointNs.add(System.nanoTime() - start);
    }

    /** Durations of the completed checkpoints in milliseconds, ascending. */
    static double[] checkpointsMs() {
        double[] ms = checkpointNs.stream().mapToDouble(ns -> ns / 1e6).toArray();
        Arrays.sort(ms);
        return ms;
    }

    /** User and system time of this process. */
    static long cpuNs() {
        return ((com.sun.management.OperatingSystemMXBean) java.lang.management.ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
    }

    /** Latency in milliseconds that a share q of the measured rows does not exceed; -1 if there is none. */
    static double latencyMs(double q) {
        long n = 0, seen = 0;
        for (int i = 0; i < lat.length(); i++) n += lat.get(i);
        if (n == 0) return -1;
        for (int i = 0; i < lat.length(); i++) if ((seen += lat.get(i)) >= q * n) return i / 10.0;
        return -1;
    }
}
