package nexmark;

import java.io.Serializable;
import org.apache.flink.api.connector.sink2.*;

/** Sink that folds rows into the job's digest. */
public final class DigestSink<T> implements Sink<T> {
    /** Returns the hash of a row. */
    public interface RowHash<T> extends Serializable { long of(Hash h, T row); }
    /** Returns +1 for an insert row and -1 for a retract row. */
    public interface Sign<T> extends Serializable { int of(T row); }
    /** Returns the number of the event that made this row possible; for latencies at a fixed input rate. */
    public interface Cause<T> extends Serializable { long of(T row); }

    private final RowHash<T> hash; private final Sign<T> sign; private final Cause<T> cause;

    public DigestSink(RowHash<T> hash, Sign<T> sign, Cause<T> cause) { this.hash = hash; this.sign = sign; this.cause = cause; }

    @Override public SinkWriter<T> createWriter(WriterInitContext c) { return new Writer(); }

    private final class Writer implements SinkWriter<T> {
        private final Hash h = new Hash();
        private long digest, count, rows;

        @Override public void write(T row, Context c) {
            long v = hash.of(h.start(), row);
            if (rows++ == 0 && Stats.firstRowNs == 0) Stats.firstRowNs = System.nanoTime();
            if (sign == null || sign.of(row) > 0) { digest += v; count++; } else { digest -= v; count--; }
            if (Stats.rate > 0 && cause != null) {
                long n = cause.of(row);
                if (n >= Stats.quarter && n < 3 * Stats.quarter) {
                    long due = Stats.rateStartNs.get() + (long) (n * 1e9 / Stats.rate);
                    Stats.lat.incrementAndGet((int) Math.max(0, Math.min(199_999, (System.nanoTime() - due) / 100_000)));
                }
            }
        }
        @Override public void flush(boolean end) { if (end) Stats.lastSinkNs.accumulateAndGet(System.nanoTime(), Math::max); }
        @Override public void close() {
            Stats.digest.addAndGet(digest); Stats.count.addAndGet(count); Stats.rows.addAndGet(rows);
            digest = count = rows = 0;
        }
    }
}
