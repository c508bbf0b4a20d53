package nexmark;

import java.io.File;
import java.lang.management.ManagementFactory;
import java.nio.file.*;
import java.time.Duration;
import java.util.*;
import nexmark.Model.Event;
import org.apache.flink.api.common.eventtime.*;
import org.apache.flink.configuration.*;
import org.apache.flink.core.execution.*;
import org.apache.flink.streaming.api.environment.*;

/** Runs one query in this JVM and prints one JSON line. README.md lists the options. */
public final class Main {
    private Main() {}

    private static final Set<String> OPTIONS = Set.of("query", "events", "seed", "parallelism", "splits", "backend", "managed", "network", "timers", "checkpoint-ms",
        "checkpoint-dir", "variant", "rate", "savepoint-at-s", "savepoint-dir", "savepoint-format", "restore");

    /** Bounded out-of-orderness of 4 s, emitted every 100 ms of event time rather than of wall time. */
    static final class Watermarks implements WatermarkGenerator<Event> {
        private long last = Long.MIN_VALUE;
        @Override public void onEvent(Event e, long ts, WatermarkOutput o) {
            if (last == Long.MIN_VALUE || ts >= last + 100) { last = ts; o.emitWatermark(new Watermark(ts - 4001)); }
        }
        @Override public void onPeriodicEmit(WatermarkOutput o) {}
    }

    public static void main(String[] args) {
        try {
            runAll(args);
            System.out.flush();
            Runtime.getRuntime().halt(0);
        } catch (Throwable t) {   // threads of Flink would keep the process alive
            t.printStackTrace();
            Runtime.getRuntime().halt(1);
        }
    }

    private static void runAll(String[] args) throws Exception {
        Map<String, String> a = new HashMap<>();
        if (args.length % 2 != 0) fail("each option has a value; got " + String.join(" ", args));
        for (int i = 0; i < args.length; i += 2) {
            String name = args[i].replaceFirst("^--", "");
            if (!OPTIONS.contains(name)) fail("unknown option " + args[i] + "; want one of " + new TreeSet<>(OPTIONS));
            a.put(name, args[i + 1]);
        }
        // Lists (q0,q5 / heap,rocksdb / 1,2) run one after another in this JVM: for checking results, not for timing.
        for (String query : a.getOrDefault("query", "q0").split(","))
            for (String backend : a.getOrDefault("backend", "heap").split(","))
                for (String p : a.getOrDefault("parallelism", "1").split(",")) run(a, query, backend, Integer.parseInt(p));
    }

    private static void fail(String why) {
        System.err.println("nexmark: " + why);
        Runtime.getRuntime().halt(2);
    }

    private static void run(Map<String, String> a, String query, String backend, int p) throws Exception {
        Stats.reset();
        long events = Long.parseLong(a.getOrDefault("events", "1000000")), seed = Long.parseLong(a.getOrDefault("seed", "1"));
        if (query.equals("dump")) {   // the events as JSON lines, no Flink
            Gen g = new Gen(seed);
            Event e = new Event();
            for (long n = 0; n < events; n++) { g.fill(n, e); System.out.println(Gen.json(e)); }
            return;
        }
        Path dir = Files.createTempDirectory("nexmark");
        Stats.quarter = events / 4;
        Stats.rate = Double.parseDouble(a.getOrDefault("rate", "0"));
        var env = StreamExecutionEnvironment.createLocalEnvironment(p, configuration(a, backend, p, dir));
        var stream = env.fromSource(new NexSource(seed, events, Integer.parseInt(a.getOrDefault("splits", "" + p))),
            WatermarkStrategy.forGenerator(x -> new Watermarks()), "nexmark").uid("source");
        Queries.build(query, stream, a.getOrDefault("variant", ""));

        long t0 = System.nanoTime();
        JobClient job = env.executeAsync("nexmark-" + query);
        String savepoint = a.containsKey("savepoint-at-s") ? savepoint(a, job) : "";
        job.getJobExecutionResult().get();
        System.out.println(String.format(Locale.ROOT,
            "{\"query\":\"%s\",\"variant\":\"%s\",\"backend\":\"%s\",\"parallelism\":%d,\"seed\":%d,\"checkpoint_ms\":%d", query,
            a.getOrDefault("variant", ""), backend, p, seed, checkpointMs(a)) + figures(events, t0, System.nanoTime()) + savepoint + "}");
        delete(dir.toFile());
    }

    private static long checkpointMs(Map<String, String> a) { return Long.parseLong(a.getOrDefault("checkpoint-ms", "0")); }

    /** What the README says: object reuse, no generic serializers, RocksDB as its documentation advises for flash disks. */
    private static Configuration configuration(Map<String, String> a, String backend, int p, Path dir) {
        Configuration c = new Configuration();
        c.set(PipelineOptions.OBJECT_REUSE, true);
        c.set(PipelineOptions.GENERIC_TYPES, false);
        c.set(PipelineOptions.MAX_PARALLELISM, 128);
        c.set(RestartStrategyOptions.RESTART_STRATEGY, "none");
        c.set(TaskManagerOptions.NUM_TASK_SLOTS, p);
        MemorySize network = MemorySize.parse(a.getOrDefault("network", "128m"));
        c.set(TaskManagerOptions.NETWORK_MEMORY_MIN, network);
        c.set(TaskManagerOptions.NETWORK_MEMORY_MAX, network);
        c.set(CoreOptions.TMP_DIRS, dir.resolve("scratch").toString());
        switch (backend) {
            case "rocksdb" -> {
                c.setString("state.backend.type", "rocksdb");
                c.set(TaskManagerOptions.MANAGED_MEMORY_SIZE, MemorySize.parse(a.getOrDefault("managed", "1g")));
                c.setString("execution.checkpointing.incremental", "true");
                c.setString("state.backend.rocksdb.localdir", dir.resolve("rocks").toString());
                c.setString("state.backend.rocksdb.timer-service.factory", a.getOrDefault("timers", "HEAP"));
                c.setString("state.backend.rocksdb.predefined-options", "FLASH_SSD_OPTIMIZED");
                c.setString("state.backend.rocksdb.use-bloom-filter", "true");
            }
            case "heap" -> {
                c.setString("state.backend.type", "hashmap");
                c.set(TaskManagerOptions.MANAGED_MEMORY_SIZE, MemorySize.ofMebiBytes(32));
            }
            default -> throw new IllegalArgumentException("unknown backend " + backend + "; want heap or rocksdb");
        }
        long ckptMs = checkpointMs(a);
        if (ckptMs > 0 || a.containsKey("savepoint-at-s")) {
            c.setString("execution.checkpointing.storage", "filesystem");
            c.setString("execution.checkpointing.dir", a.getOrDefault("checkpoint-dir", dir.resolve("checkpoints").toUri().toString()));
            if (ckptMs > 0) c.set(CheckpointingOptions.CHECKPOINTING_INTERVAL, Duration.ofMillis(ckptMs));
        }
        if (a.containsKey("restore")) c.setString("execution.state-recovery.path", a.get("restore"));
        return c;
    }

    private static String savepoint(Map<String, String> a, JobClient job) throws Exception {
        Thread.sleep((long) (1000 * Double.parseDouble(a.get("savepoint-at-s"))));
        long t = System.nanoTime();
        String path = job.stopWithSavepoint(false, a.get("savepoint-dir"),
            a.getOrDefault("savepoint-format", "NATIVE").equals("NATIVE") ? SavepointFormatType.NATIVE : SavepointFormatType.CANONICAL).get();
        return String.format(Locale.ROOT, ",\"savepoint\":\"%s\",\"savepoint_s\":%.2f,\"emitted\":%d", path, (System.nanoTime() - t) / 1e9,
            Stats.emitted.get());
    }

    /** The measured part of the JSON line. Steady = from the moment at which a quarter of the events had been emitted. */
    private static String figures(long events, long t0, long t1) throws Exception {
        long end = Math.max(Stats.lastSinkNs.get(), Stats.quarterNs), rest = events - Stats.quarter;
        long jvmStartNs = System.nanoTime() - (System.currentTimeMillis() - ManagementFactory.getRuntimeMXBean().getStartTime()) * 1_000_000L;
        double wall = (t1 - t0) / 1e9, steady = (end - Stats.quarterNs) / 1e9, cpu = Stats.cpuNs() / 1e9;
        long rssMb = 0;
        Path status = Path.of("/proc/self/status");
        if (Files.exists(status))
            for (String l : Files.readAllLines(status)) if (l.startsWith("VmHWM")) rssMb = Long.parseLong(l.replaceAll("\\D", "")) / 1024;
        StringBuilder o = new StringBuilder(String.format(Locale.ROOT,
            ",\"events\":%d,\"wall_s\":%.3f,\"cpu_s\":%.2f,\"events_per_s\":%.0f,\"steady_events_per_s\":%.0f,\"steady_cpu_s_per_m\":%.4f,"
            + "\"peak_rss_mb\":%d,\"first_event_ms\":%.0f,\"jvm_to_first_event_ms\":%.0f,\"rows_out\":%d,\"count\":%d,\"digest\":\"%016x\"",
            events, wall, cpu, events / wall, rest / steady, (cpu - Stats.quarterCpuNs / 1e9) * 1e6 / rest, rssMb, (Stats.firstNs - t0) / 1e6, (Stats.firstNs - jvmStartNs) / 1e6,
            Stats.rows.get(), Stats.count.get(), Stats.digest.get()));
        double[] c = Stats.checkpointsMs();
        o.append(String.format(Locale.ROOT, ",\"checkpoints\":%d", c.length));
        if (c.length > 0) o.append(String.format(Locale.ROOT, ",\"checkpoint_p50_ms\":%.1f,\"checkpoint_p99_ms\":%.1f",
            c[(c.length - 1) / 2], c[(int) Math.ceil(c.length * .99) - 1]));
        if (Stats.rate > 0) o.append(String.format(Locale.ROOT,
            ",\"rate\":%.0f,\"lat_ms\":{\"p50\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}",
            Stats.rate, Stats.latencyMs(.5), Stats.latencyMs(.99), Stats.latencyMs(.999), Stats.latencyMs(1)));
        return o.toString();
    }

    private static void delete(File f) {
        File[] l = f.listFiles();
        if (l != null) for (File x : l) delete(x);
        f.delete();
    }
}
