package nexmark;

import java.io.Serializable;
import java.nio.ByteBuffer;
import java.util.*;
import java.util.concurrent.CompletableFuture;
import nexmark.Model.Event;
import org.apache.flink.api.connector.source.*;
import org.apache.flink.core.io.InputStatus;
import org.apache.flink.core.io.SimpleVersionedSerializer;

/** Bounded generator source: split i of k emits n = i, i+k, i+2k, ... &lt; total. */
public final class NexSource implements Source<Event, NexSource.Split, Boolean> {
    private static final int BATCH = 64;
    private final long seed, total;
    private final int splits;

    public NexSource(long seed, long total, int splits) { this.seed = seed; this.total = total; this.splits = splits; }

    public static final class Split implements SourceSplit, Serializable {
        final int i; long next;
        Split(int i, long next) { this.i = i; this.next = next; }
        @Override public String splitId() { return Integer.toString(i); }
    }

    @Override public Boundedness getBoundedness() { return Boundedness.BOUNDED; }
    @Override public SourceReader<Event, Split> createReader(SourceReaderContext c) { return new Reader(); }
    @Override public SplitEnumerator<Split, Boolean> createEnumerator(SplitEnumeratorContext<Split> c) { return new Enumerator(c, false); }
    @Override public SplitEnumerator<Split, Boolean> restoreEnumerator(SplitEnumeratorContext<Split> c, Boolean done) { return new Enumerator(c, done); }

    @Override public SimpleVersionedSerializer<Split> getSplitSerializer() {
        return new SimpleVersionedSerializer<>() {
            @Override public int getVersion() { return 1; }
            @Override public byte[] serialize(Split s) { return ByteBuffer.allocate(12).putInt(s.i).putLong(s.next).array(); }
            @Override public Split deserialize(int v, byte[] b) { ByteBuffer x = ByteBuffer.wrap(b); return new Split(x.getInt(), x.getLong()); }
        };
    }

    @Override public SimpleVersionedSerializer<Boolean> getEnumeratorCheckpointSerializer() {
        return new SimpleVersionedSerializer<>() {
            @Override public int getVersion() { return 1; }
            @Override public byte[] serialize(Boolean b) { return new byte[] {(byte) (b ? 1 : 0)}; }
            @Override public Boolean deserialize(int v, byte[] b) { return b[0] == 1; }
        };
    }

    private final class Enumerator implements SplitEnumerator<Split, Boolean> {
        private final SplitEnumeratorContext<Split> ctx;
        private final Set<Integer> todo = new HashSet<>();   // subtasks that have not had their splits
        private final boolean restored;
        private boolean given;

        Enumerator(SplitEnumeratorContext<Split> ctx, boolean given) { this.ctx = ctx; this.given = given; this.restored = given; }
        @Override public void start() {}
        @Override public void handleSplitRequest(int subtask, String host) {}
        @Override public void addSplitsBack(List<Split> s, int subtask) { throw new UnsupportedOperationException("no partial failover"); }
        @Override public void addReader(int subtask) {
            if (!restored) {
                todo.add(subtask);
                if (todo.size() == ctx.currentParallelism()) given = true; else if (ctx.currentParallelism() > 1) return;
                for (int s : todo) {
                    for (int i = 0; i < splits; i++)
                        if (i % ctx.currentParallelism() == s) ctx.assignSplit(new Split(i, i), s);
                    ctx.signalNoMoreSplits(s);
                }
            } else ctx.signalNoMoreSplits(subtask);
        }
        @Override public Boolean snapshotState(long id) { Stats.checkpointStarted(id); return given; }
        @Override public void notifyCheckpointComplete(long id) { Stats.checkpointCompleted(id); }
        @Override public void close() {}
    }

    private final class Reader implements SourceReader<Event, Split> {
        private final Gen gen = new Gen(seed);
        private final Event event = new Event();
        private final ArrayList<Split> mine = new ArrayList<>();
        private final ArrayList<SourceOutput<Event>> outs = new ArrayList<>();
        private CompletableFuture<Void> available = new CompletableFuture<>();
        private boolean noMore;
        private int at;

        @Override public void start() {}

        @Override public InputStatus pollNext(ReaderOutput<Event> out) throws Exception {
            if (mine.isEmpty()) {
                if (noMore) return InputStatus.END_OF_INPUT;
                return InputStatus.NOTHING_AVAILABLE;
            }
            if (outs.size() < mine.size())
                for (int i = outs.size(); i < mine.size(); i++) outs.add(out.createOutputForSplit(mine.get(i).splitId()));
            if (Stats.firstNs == 0) Stats.firstNs = System.nanoTime();
            at = at + 1 < mine.size() ? at + 1 : 0;
            Split s = mine.get(at);
            SourceOutput<Event> o = outs.get(at);
            long n = s.next, stop = Math.min(total, n + (long) BATCH * splits);
            if (Stats.rate > 0) {
                Stats.rateStartNs.compareAndSet(0, System.nanoTime());
                long dueNs = Stats.rateStartNs.get() + (long) (n * 1e9 / Stats.rate);
                if (System.nanoTime() < dueNs) { Thread.sleep(0, 200_000); return InputStatus.MORE_AVAILABLE; }
                stop = Math.min(stop, n + splits);
            }
            long k = 0;
            for (; n < stop; n += splits, k++) {
                long ts = gen.fill(n, event);
                o.collect(event, ts / 1000);
            }
            s.next = n;
            Stats.emitted(k);
            if (n >= total) {
                out.releaseOutputForSplit(s.splitId());
                mine.remove(at);
                outs.remove(at);
                at = 0;
                if (mine.isEmpty() && noMore) return InputStatus.END_OF_INPUT;
            }
            return InputStatus.MORE_AVAILABLE;
        }

        @Override public List<Split> snapshotState(long id) {
            List<Split> l = new ArrayList<>();
            for (Split s : mine) l.add(new Split(s.i, s.next));
            return l;
        }
        @Override public CompletableFuture<Void> isAvailable() { return available; }
        @Override public void addSplits(List<Split> s) { mine.addAll(s); available.complete(null); }
        @Override public void notifyNoMoreSplits() { noMore = true; available.complete(null); }
        @Override public void close() {}
    }
}
