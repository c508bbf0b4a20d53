package nexmark;

import java.time.Duration;
import java.util.*;
import nexmark.Model.*;
import org.apache.flink.api.common.functions.*;
import org.apache.flink.api.common.state.*;
import org.apache.flink.api.common.typeinfo.*;
import org.apache.flink.api.java.functions.KeySelector;
import org.apache.flink.api.java.tuple.*;
import org.apache.flink.streaming.api.datastream.*;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.streaming.api.functions.co.KeyedCoProcessFunction;
import org.apache.flink.streaming.api.functions.windowing.*;
import org.apache.flink.streaming.api.windowing.assigners.*;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;
import org.apache.flink.util.Collector;

/** The queries of SPEC.md section 4 as DataStream programs. Records are projected before every shuffle. */
public final class Queries {
    private Queries() {}

    static final TypeInformation<Bid> BID = Types.POJO(Bid.class);
    static final TypeInformation<Auction> AUCTION = Types.POJO(Auction.class);
    static final Duration S10 = Duration.ofSeconds(10), S2 = Duration.ofSeconds(2);
    static final long BASE_MS = Gen.BASE_US / 1000;

    static long nOf(long tsUs) { return (tsUs - Gen.BASE_US) / Gen.STEP_US; }
    /** First event whose watermark can pass t (milliseconds), at most 100 ms of event time early. */
    static long nForWatermark(long t) { return (t + 4001 - BASE_MS) * 10; }

    // Source side: each of these chains to the source.
    static SingleOutputStreamOperator<Bid> bids(DataStream<Event> e) {
        return e.flatMap((Event x, Collector<Bid> o) -> { if (x.kind == 2) o.collect(x.bid); }).returns(BID).name("bids");
    }
    static SingleOutputStreamOperator<Auction> auctions(DataStream<Event> e) {
        return e.flatMap((Event x, Collector<Auction> o) -> { if (x.kind == 1) o.collect(x.auction); }).returns(AUCTION).name("auctions");
    }

    static <T> void sink(DataStream<T> s, DigestSink.RowHash<T> h) { sink(s, h, null, null); }
    static <T> void sink(DataStream<T> s, DigestSink.RowHash<T> h, DigestSink.Sign<T> g, DigestSink.Cause<T> c) {
        DataStreamSink<T> k = s.sinkTo(new DigestSink<>(h, g, c)).name("digest");
        if (s.getParallelism() > 0) k.setParallelism(s.getParallelism());
    }

    static void build(String q, DataStream<Event> e, String variant) {
        switch (q) {
            case "gen" -> sink(e, (h, x) -> h.event(x));
            case "q0" -> sink(bids(e), (h, b) -> h.bid(b).done(), null, b -> nOf(b.ts));
            case "q1" -> sink(bids(e).map(b -> {
                Bid r = new Bid();
                r.auction = b.auction; r.bidder = b.bidder; r.price = b.price * 908 / 1000; r.ts = b.ts; r.extra = b.extra;
                return r;
            }).returns(BID), (h, b) -> h.bid(b).done());
            case "q2" -> sink(bids(e).filter(b -> b.auction % 123 == 0).map(b -> Tuple2.of(b.auction, b.price))
                .returns(Types.TUPLE(Types.LONG, Types.LONG)), (h, t) -> h.i(t.f0).i(t.f1).done());
            case "q3" -> q3(e);
            case "q4" -> q4(e);
            case "q5" -> q5(e, !"plain".equals(variant));
            case "q7" -> q7(e);
            case "q8" -> q8(e);
            case "q9" -> q9(e);
            case "q11" -> q11(e);
            case "q17" -> q17(e);
            case "q18" -> q18(e);
            case "q19" -> q19(e);
            case "q20" -> q20(e);
            default -> throw new IllegalArgumentException("unknown query " + q);
        }
    }

    // ---- q3: persons joined with auctions, unbounded ----
    static void q3(DataStream<Event> e) {
        var persons = e.flatMap((Event x, Collector<Tuple4<Long, String, String, String>> o) -> {
            Person p = x.person;
            if (x.kind == 0 && (p.state.equals("OR") || p.state.equals("ID") || p.state.equals("CA")))
                o.collect(Tuple4.of(p.id, p.name, p.city, p.state));
        }).returns(Types.TUPLE(Types.LONG, Types.STRING, Types.STRING, Types.STRING));
        var aucs = e.flatMap((Event x, Collector<Tuple2<Long, Long>> o) -> {
            if (x.kind == 1 && x.auction.category == 10) o.collect(Tuple2.of(x.auction.seller, x.auction.id));
        }).returns(Types.TUPLE(Types.LONG, Types.LONG));
        sink(persons.keyBy(p -> p.f0, Types.LONG).connect(aucs.keyBy(a -> a.f0, Types.LONG)).process(new Q3()).uid("q3"),
            (h, t) -> h.s(t.f0).s(t.f1).s(t.f2).i(t.f3).done());
    }

    static final class Q3 extends KeyedCoProcessFunction<Long, Tuple4<Long, String, String, String>, Tuple2<Long, Long>, Tuple4<String, String, String, Long>> {
        private transient ValueState<Tuple4<Long, String, String, String>> person;
        private transient ListState<Long> waiting;
        @Override public void open(OpenContext c) {
            person = getRuntimeContext().getState(new ValueStateDescriptor<>("person", Types.TUPLE(Types.LONG, Types.STRING, Types.STRING, Types.STRING)));
            waiting = getRuntimeContext().getListState(new ListStateDescriptor<>("waiting", Types.LONG));
        }
        @Override public void processElement1(Tuple4<Long, String, String, String> p, Context c, Collector<Tuple4<String, String, String, Long>> o) throws Exception {
            person.update(p);
            Iterable<Long> w = waiting.get();
            if (w != null) {
                boolean any = false;
                for (long id : w) { o.collect(Tuple4.of(p.f1, p.f2, p.f3, id)); any = true; }
                if (any) waiting.clear();
            }
        }
        @Override public void processElement2(Tuple2<Long, Long> a, Context c, Collector<Tuple4<String, String, String, Long>> o) throws Exception {
            var p = person.value();
            if (p != null) o.collect(Tuple4.of(p.f1, p.f2, p.f3, a.f1)); else waiting.add(a.f1);
        }
    }

    // ---- q4: average closing price per category of the auctions closed in each 10 s ----
    static void q4(DataStream<Event> e) {
        var aucs = e.flatMap((Event x, Collector<Tuple4<Long, Long, Long, Long>> o) -> {
            Auction a = x.auction;
            if (x.kind == 1) o.collect(Tuple4.of(a.id, a.ts, a.expires, a.category));
        }).returns(Types.TUPLE(Types.LONG, Types.LONG, Types.LONG, Types.LONG));
        var bids = e.flatMap((Event x, Collector<Tuple3<Long, Long, Long>> o) -> {
            Bid b = x.bid;
            if (x.kind == 2) o.collect(Tuple3.of(b.auction, b.ts, b.price));
        }).returns(Types.TUPLE(Types.LONG, Types.LONG, Types.LONG));
        var closed = aucs.keyBy(a -> a.f0, Types.LONG).connect(bids.keyBy(b -> b.f0, Types.LONG)).process(new Q4()).uid("q4-close");
        var avg = closed.keyBy(c -> c.f0, Types.LONG).window(TumblingEventTimeWindows.of(S10)).aggregate(
            new AggregateFunction<Tuple2<Long, Long>, Tuple2<Long, Long>, Tuple2<Long, Long>>() {
                @Override public Tuple2<Long, Long> createAccumulator() { return Tuple2.of(0L, 0L); }
                @Override public Tuple2<Long, Long> add(Tuple2<Long, Long> v, Tuple2<Long, Long> a) { a.f0++; a.f1 += v.f1; return a; }
                @Override public Tuple2<Long, Long> getResult(Tuple2<Long, Long> a) { return a; }
                @Override public Tuple2<Long, Long> merge(Tuple2<Long, Long> a, Tuple2<Long, Long> b) { a.f0 += b.f0; a.f1 += b.f1; return a; }
            },
            new ProcessWindowFunction<Tuple2<Long, Long>, Tuple4<Long, Long, Long, Long>, Long, TimeWindow>() {
                @Override public void process(Long k, Context c, Iterable<Tuple2<Long, Long>> in, Collector<Tuple4<Long, Long, Long, Long>> o) {
                    var a = in.iterator().next();
                    o.collect(Tuple4.of(k, c.window().getEnd(), a.f0, a.f1));
                }
            },
            Types.TUPLE(Types.LONG, Types.LONG), Types.TUPLE(Types.LONG, Types.LONG), Types.TUPLE(Types.LONG, Types.LONG, Types.LONG, Types.LONG)).uid("q4-avg");
        sink(avg, (h, t) -> h.i(t.f0).i(t.f1).i(t.f2).i(t.f3).i(t.f3 / t.f2).done(), null, t -> nForWatermark(t.f1 - 1));
    }

    static final class Q4 extends KeyedCoProcessFunction<Long, Tuple4<Long, Long, Long, Long>, Tuple3<Long, Long, Long>, Tuple2<Long, Long>> {
        private transient ValueState<Open> open;
        private transient ListState<Tuple2<Long, Long>> early;   // (ts, price) of bids that came before their auction
        @Override public void open(OpenContext c) {
            open = getRuntimeContext().getState(new ValueStateDescriptor<>("open", Types.POJO(Open.class)));
            early = getRuntimeContext().getListState(new ListStateDescriptor<>("early", Types.TUPLE(Types.LONG, Types.LONG)));
        }
        @Override public void processElement1(Tuple4<Long, Long, Long, Long> a, Context c, Collector<Tuple2<Long, Long>> o) throws Exception {
            Open v = new Open();
            v.ts = a.f1; v.expires = a.f2; v.category = a.f3; v.best = -1;
            Iterable<Tuple2<Long, Long>> l = early.get();
            if (l != null) {
                boolean any = false;
                for (var b : l) { any = true; if (b.f0 >= v.ts && b.f0 <= v.expires && b.f1 > v.best) v.best = b.f1; }
                if (any) early.clear();
            }
            open.update(v);
            c.timerService().registerEventTimeTimer(v.expires / 1000);
        }
        @Override public void processElement2(Tuple3<Long, Long, Long> b, Context c, Collector<Tuple2<Long, Long>> o) throws Exception {
            Open v = open.value();
            if (v == null) {
                early.add(Tuple2.of(b.f1, b.f2));
                c.timerService().registerEventTimeTimer(b.f1 / 1000);
            } else if (b.f2 > v.best && b.f1 >= v.ts && b.f1 <= v.expires) {
                v.best = b.f2;
                open.update(v);
            }
        }
        @Override public void onTimer(long t, OnTimerContext c, Collector<Tuple2<Long, Long>> o) throws Exception {
            Open v = open.value();
            if (v != null) {
                if (t < v.expires / 1000) return;
                if (v.best >= 0) o.collect(Tuple2.of(v.category, v.best));
                open.clear();
                return;
            }
            List<Tuple2<Long, Long>> keep = new ArrayList<>();
            Iterable<Tuple2<Long, Long>> l = early.get();
            if (l != null) for (var b : l) if (b.f0 / 1000 > t) keep.add(b);
            if (keep.isEmpty()) early.clear(); else early.update(keep);
        }
    }

    // ---- q5: hot items ----
    static final class Count implements AggregateFunction<Long, Long, Long> {
        @Override public Long createAccumulator() { return 0L; }
        @Override public Long add(Long v, Long a) { return a + 1; }
        @Override public Long getResult(Long a) { return a; }
        @Override public Long merge(Long a, Long b) { return a + b; }
    }
    static final class SumF1 implements AggregateFunction<Tuple2<Long, Long>, Long, Long> {
        @Override public Long createAccumulator() { return 0L; }
        @Override public Long add(Tuple2<Long, Long> v, Long a) { return a + v.f1; }
        @Override public Long getResult(Long a) { return a; }
        @Override public Long merge(Long a, Long b) { return a + b; }
    }
    static final class KeyCountEnd extends ProcessWindowFunction<Long, Tuple3<Long, Long, Long>, Long, TimeWindow> {
        @Override public void process(Long k, Context c, Iterable<Long> in, Collector<Tuple3<Long, Long, Long>> o) {
            o.collect(Tuple3.of(k, in.iterator().next(), c.window().getEnd()));
        }
    }

    static void q5(DataStream<Event> e, boolean sliced) {
        final TypeInformation<Tuple3<Long, Long, Long>> T3 = Types.TUPLE(Types.LONG, Types.LONG, Types.LONG);
        final TypeInformation<Tuple2<Long, Long>> T2 = Types.TUPLE(Types.LONG, Types.LONG);
        var ids = e.flatMap((Event x, Collector<Long> o) -> { if (x.kind == 2) o.collect(x.bid.auction); }).returns(Types.LONG);
        SingleOutputStreamOperator<Tuple3<Long, Long, Long>> counts;
        if (sliced) {   // counts per 2 s slice first, then five slices per window: one state update per bid instead of five
            DataStream<Tuple2<Long, Long>> slices = ids.keyBy(k -> k, Types.LONG).window(TumblingEventTimeWindows.of(S2)).aggregate(new Count(),
                new ProcessWindowFunction<Long, Tuple2<Long, Long>, Long, TimeWindow>() {
                    @Override public void process(Long k, Context c, Iterable<Long> in, Collector<Tuple2<Long, Long>> o) {
                        o.collect(Tuple2.of(k, in.iterator().next()));
                    }
                }, Types.LONG, Types.LONG, T2).uid("q5-slice");
            counts = DataStreamUtils.reinterpretAsKeyedStream(slices, t -> t.f0, Types.LONG)
                .window(SlidingEventTimeWindows.of(S10, S2)).aggregate(new SumF1(), new KeyCountEnd(), Types.LONG, Types.LONG, T3).uid("q5-count");
        } else {
            counts = ids.keyBy(k -> k, Types.LONG).window(SlidingEventTimeWindows.of(S10, S2))
                .aggregate(new Count(), new KeyCountEnd(), Types.LONG, Types.LONG, T3).uid("q5-count");
        }
        var top = counts.keyBy(t -> t.f2, Types.LONG).window(TumblingEventTimeWindows.of(S2)).aggregate(
            new AggregateFunction<Tuple3<Long, Long, Long>, TopCount, TopCount>() {
                @Override public TopCount createAccumulator() { return new TopCount(); }
                @Override public TopCount add(Tuple3<Long, Long, Long> v, TopCount a) {
                    if (v.f1 < a.count) return a;
                    if (v.f1 > a.count) { a.count = v.f1; a.windowEnd = v.f2; a.auctions.clear(); }
                    a.auctions.add(v.f0);
                    return a;
                }
                @Override public TopCount getResult(TopCount a) { return a; }
                @Override public TopCount merge(TopCount a, TopCount b) { throw new UnsupportedOperationException(); }
            }, Types.POJO(TopCount.class), Types.POJO(TopCount.class)).uid("q5-top")
            .flatMap((TopCount a, Collector<Tuple3<Long, Long, Long>> o) -> { for (long id : a.auctions) o.collect(Tuple3.of(id, a.count, a.windowEnd)); }).returns(T3);
        sink(top, (h, t) -> h.i(t.f0).i(t.f1).i(t.f2).done(), null, t -> nForWatermark(t.f2 - 1));
    }

    // ---- q7: highest bid per 10 s; 64 partial maxima, then one ----
    static final class AddBid implements AggregateFunction<Bid, TopBids, TopBids> {
        @Override public TopBids createAccumulator() { return new TopBids(); }
        @Override public TopBids add(Bid b, TopBids a) {
            if (b.price < a.price) return a;
            if (b.price > a.price) { a.price = b.price; a.bids.clear(); }
            a.bids.add(b);
            return a;
        }
        @Override public TopBids getResult(TopBids a) { return a; }
        @Override public TopBids merge(TopBids a, TopBids b) { throw new UnsupportedOperationException(); }
    }
    static final class AddTop implements AggregateFunction<TopBids, TopBids, TopBids> {
        @Override public TopBids createAccumulator() { return new TopBids(); }
        @Override public TopBids add(TopBids v, TopBids a) {
            if (v.price < a.price) return a;
            if (v.price > a.price) { a.price = v.price; a.bids.clear(); }
            a.bids.addAll(v.bids);
            return a;
        }
        @Override public TopBids getResult(TopBids a) { return a; }
        @Override public TopBids merge(TopBids a, TopBids b) { throw new UnsupportedOperationException(); }
    }

    static void q7(DataStream<Event> e) {
        final TypeInformation<TopBids> T = Types.POJO(TopBids.class);
        var parts = bids(e).keyBy(b -> (int) (b.ts / 100 & 63), Types.INT).window(TumblingEventTimeWindows.of(S10))
            .aggregate(new AddBid(), T, T).uid("q7-part");
        var top = parts.windowAll(TumblingEventTimeWindows.of(S10)).aggregate(new AddTop(),
            new ProcessAllWindowFunction<TopBids, Tuple2<Bid, Long>, TimeWindow>() {
                @Override public void process(Context c, Iterable<TopBids> in, Collector<Tuple2<Bid, Long>> o) {
                    for (Bid b : in.iterator().next().bids) o.collect(Tuple2.of(b, c.window().getEnd()));
                }
            }, T, T, Types.TUPLE(BID, Types.LONG)).uid("q7-top");
        sink(top, (h, t) -> h.bid(t.f0).i(t.f1).done(), null, t -> nForWatermark(t.f1 - 1));
    }

    // ---- q8: new persons that sell in the same 10 s ----
    static void q8(DataStream<Event> e) {
        final TypeInformation<Tuple3<Long, Integer, String>> T = Types.TUPLE(Types.LONG, Types.INT, Types.STRING);
        final TypeInformation<Tuple2<Integer, String>> A = Types.TUPLE(Types.INT, Types.STRING);
        var in = e.flatMap((Event x, Collector<Tuple3<Long, Integer, String>> o) -> {
            if (x.kind == 0) o.collect(Tuple3.of(x.person.id, 1, x.person.name));
            else if (x.kind == 1) o.collect(Tuple3.of(x.auction.seller, 2, ""));
        }).returns(T);
        var out = in.keyBy(t -> t.f0, Types.LONG).window(TumblingEventTimeWindows.of(S10)).aggregate(
            new AggregateFunction<Tuple3<Long, Integer, String>, Tuple2<Integer, String>, Tuple2<Integer, String>>() {
                @Override public Tuple2<Integer, String> createAccumulator() { return Tuple2.of(0, ""); }
                @Override public Tuple2<Integer, String> add(Tuple3<Long, Integer, String> v, Tuple2<Integer, String> a) {
                    a.f0 |= v.f1;
                    if (v.f1 == 1) a.f1 = v.f2;
                    return a;
                }
                @Override public Tuple2<Integer, String> getResult(Tuple2<Integer, String> a) { return a; }
                @Override public Tuple2<Integer, String> merge(Tuple2<Integer, String> a, Tuple2<Integer, String> b) { throw new UnsupportedOperationException(); }
            },
            new ProcessWindowFunction<Tuple2<Integer, String>, Tuple3<Long, String, Long>, Long, TimeWindow>() {
                @Override public void process(Long k, Context c, Iterable<Tuple2<Integer, String>> v, Collector<Tuple3<Long, String, Long>> o) {
                    var a = v.iterator().next();
                    if (a.f0 == 3) o.collect(Tuple3.of(k, a.f1, c.window().getStart()));
                }
            }, A, A, Types.TUPLE(Types.LONG, Types.STRING, Types.LONG)).uid("q8");
        sink(out, (h, t) -> h.i(t.f0).s(t.f1).i(t.f2).done(), null, t -> nForWatermark(t.f2 + 9999));
    }

    // ---- q9: winning bids ----
    static void q9(DataStream<Event> e) {
        var out = auctions(e).keyBy(a -> a.id, Types.LONG).connect(bids(e).keyBy(b -> b.auction, Types.LONG)).process(new Q9()).uid("q9")
            .returns(Types.TUPLE(AUCTION, BID));
        sink(out, (h, t) -> {
            Auction a = t.f0; Bid b = t.f1;
            return h.i(a.id).s(a.itemName).s(a.description).i(a.initialBid).i(a.reserve).i(a.ts).i(a.expires).i(a.seller).i(a.category)
                .s(a.extra).i(b.bidder).i(b.price).i(b.ts).s(b.extra).done();
        }, null, t -> nForWatermark(t.f0.expires / 1000));
    }

    static final class Q9 extends KeyedCoProcessFunction<Long, Auction, Bid, Tuple2<Auction, Bid>> {
        private transient ValueState<OpenBest> open;    // small: read for every bid
        private transient ValueState<Auction> auction;  // large: read once
        private transient ValueState<Bid> best;
        private transient ListState<Bid> early;
        @Override public void open(OpenContext c) {
            open = getRuntimeContext().getState(new ValueStateDescriptor<>("open", Types.POJO(OpenBest.class)));
            auction = getRuntimeContext().getState(new ValueStateDescriptor<>("auction", AUCTION));
            best = getRuntimeContext().getState(new ValueStateDescriptor<>("best", BID));
            early = getRuntimeContext().getListState(new ListStateDescriptor<>("early", BID));
        }
        private static boolean better(OpenBest v, Bid b) {
            return b.ts >= v.ts && b.ts <= v.expires && (b.price > v.price || b.price == v.price && b.ts < v.bidTs);
        }
        @Override public void processElement1(Auction a, Context c, Collector<Tuple2<Auction, Bid>> o) throws Exception {
            OpenBest v = new OpenBest();
            v.ts = a.ts; v.expires = a.expires; v.price = -1;
            Bid top = null;
            boolean any = false;
            Iterable<Bid> l = early.get();
            if (l != null) for (Bid b : l) { any = true; if (better(v, b)) { v.price = b.price; v.bidTs = b.ts; top = b; } }
            if (any) early.clear();
            if (top != null) best.update(top);
            open.update(v);
            auction.update(a);
            c.timerService().registerEventTimeTimer(a.expires / 1000);
        }
        @Override public void processElement2(Bid b, Context c, Collector<Tuple2<Auction, Bid>> o) throws Exception {
            OpenBest v = open.value();
            if (v == null) {
                early.add(b);
                c.timerService().registerEventTimeTimer(b.ts / 1000);
            } else if (better(v, b)) {
                v.price = b.price; v.bidTs = b.ts;
                open.update(v);
                best.update(b);
            }
        }
        @Override public void onTimer(long t, OnTimerContext c, Collector<Tuple2<Auction, Bid>> o) throws Exception {
            OpenBest v = open.value();
            if (v != null) {
                if (t < v.expires / 1000) return;
                if (v.price >= 0) { o.collect(Tuple2.of(auction.value(), best.value())); best.clear(); }
                open.clear();
                auction.clear();
                return;
            }
            List<Bid> keep = new ArrayList<>();
            Iterable<Bid> l = early.get();
            if (l != null) for (Bid b : l) if (b.ts / 1000 > t) keep.add(b);
            if (keep.isEmpty()) early.clear(); else early.update(keep);
        }
    }

    // ---- q11: bids per bidder and session ----
    static void q11(DataStream<Event> e) {
        var out = e.flatMap((Event x, Collector<Long> o) -> { if (x.kind == 2) o.collect(x.bid.bidder); }).returns(Types.LONG)
            .keyBy(k -> k, Types.LONG).window(EventTimeSessionWindows.withGap(S10)).aggregate(new Count(),
                new ProcessWindowFunction<Long, Tuple4<Long, Long, Long, Long>, Long, TimeWindow>() {
                    @Override public void process(Long k, Context c, Iterable<Long> in, Collector<Tuple4<Long, Long, Long, Long>> o) {
                        o.collect(Tuple4.of(k, in.iterator().next(), c.window().getStart(), c.window().getEnd()));
                    }
                }, Types.LONG, Types.LONG, Types.TUPLE(Types.LONG, Types.LONG, Types.LONG, Types.LONG)).uid("q11");
        sink(out, (h, t) -> h.i(t.f0).i(t.f1).i(t.f2).i(t.f3).done(), null, t -> nForWatermark(t.f3 - 1));
    }

    // ---- q17: statistics per auction and day, as a changelog ----
    static void q17(DataStream<Event> e) {
        final TypeInformation<Tuple3<Long, Long, Long>> T = Types.TUPLE(Types.LONG, Types.LONG, Types.LONG);
        var out = e.flatMap((Event x, Collector<Tuple3<Long, Long, Long>> o) -> {
            if (x.kind == 2) o.collect(Tuple3.of(x.bid.auction, x.bid.ts / 1000 / 86_400_000, x.bid.price));
        }).returns(T).keyBy(t -> Tuple2.of(t.f0, t.f1), Types.TUPLE(Types.LONG, Types.LONG)).process(new Q17()).uid("q17");
        sink(out, (h, s) -> h.i(s.auction).i(s.day).i(s.total).i(s.n1).i(s.n2).i(s.n3).i(s.min).i(s.max).i(s.sum / s.total).i(s.sum).done(), s -> s.sign, null);
    }

    static final class Q17 extends KeyedProcessFunction<Tuple2<Long, Long>, Tuple3<Long, Long, Long>, AuctionStats> {
        private transient ValueState<AuctionStats> stats;
        @Override public void open(OpenContext c) { stats = getRuntimeContext().getState(new ValueStateDescriptor<>("stats", Types.POJO(AuctionStats.class))); }
        @Override public void processElement(Tuple3<Long, Long, Long> b, Context c, Collector<AuctionStats> o) throws Exception {
            AuctionStats s = stats.value();
            long p = b.f2;
            if (s == null) {
                s = new AuctionStats();
                s.auction = b.f0; s.day = b.f1; s.min = Long.MAX_VALUE;
            } else { s.sign = -1; o.collect(s); }
            s.sign = 1;
            s.total++;
            if (p < 10_000) s.n1++; else if (p < 1_000_000) s.n2++; else s.n3++;
            s.min = Math.min(s.min, p); s.max = Math.max(s.max, p); s.sum += p;
            stats.update(s);
            o.collect(s);
        }
    }

    // ---- q18: last bid of every (bidder, auction), as a changelog ----
    static void q18(DataStream<Event> e) {
        var out = bids(e).keyBy(b -> Tuple2.of(b.bidder, b.auction), Types.TUPLE(Types.LONG, Types.LONG)).process(new Q18()).uid("q18")
            .returns(Types.TUPLE(Types.INT, BID));
        sink(out, (h, t) -> h.bid(t.f1).done(), t -> t.f0, t -> nOf(t.f1.ts));
    }

    static final class Q18 extends KeyedProcessFunction<Tuple2<Long, Long>, Bid, Tuple2<Integer, Bid>> {
        private transient ValueState<Bid> last;
        private transient Tuple2<Integer, Bid> out;
        @Override public void open(OpenContext c) {
            last = getRuntimeContext().getState(new ValueStateDescriptor<>("last", BID));
            out = new Tuple2<>();
        }
        @Override public void processElement(Bid b, Context c, Collector<Tuple2<Integer, Bid>> o) throws Exception {
            Bid p = last.value();
            if (p != null) {
                if (p.ts > b.ts) return;
                out.f0 = -1; out.f1 = p;
                o.collect(out);
            }
            last.update(b);
            out.f0 = 1; out.f1 = b;
            o.collect(out);
        }
    }

    // ---- q19: ten best bids of every auction, as a changelog ----
    static void q19(DataStream<Event> e) {
        var out = bids(e).keyBy(b -> b.auction, Types.LONG).process(new Q19()).uid("q19").returns(Types.TUPLE(Types.INT, Types.INT, BID));
        sink(out, (h, t) -> h.bid(t.f2).i(t.f1).done(), t -> t.f0, null);
    }

    static final class Q19 extends KeyedProcessFunction<Long, Bid, Tuple3<Integer, Integer, Bid>> {
        private transient ValueState<List<Bid>> top;     // best first
        private transient ValueState<Long> floor;        // price of the tenth, once there are ten: most bids need no more than this
        private transient Tuple3<Integer, Integer, Bid> out;
        @Override public void open(OpenContext c) {
            top = getRuntimeContext().getState(new ValueStateDescriptor<>("top", Types.LIST(BID)));
            floor = getRuntimeContext().getState(new ValueStateDescriptor<>("floor", Types.LONG));
            out = new Tuple3<>();
        }
        private void emit(Collector<Tuple3<Integer, Integer, Bid>> o, int sign, int rank, Bid b) {
            out.f0 = sign; out.f1 = rank; out.f2 = b;
            o.collect(out);
        }
        @Override public void processElement(Bid b, Context c, Collector<Tuple3<Integer, Integer, Bid>> o) throws Exception {
            Long f = floor.value();
            if (f != null && b.price < f) return;
            List<Bid> l = top.value();
            if (l == null) l = new ArrayList<>(10);
            int at = l.size();
            while (at > 0 && (b.price > l.get(at - 1).price || b.price == l.get(at - 1).price && b.ts < l.get(at - 1).ts)) at--;
            if (at == 10) return;
            int n = l.size();
            for (int i = at; i < n; i++) {
                emit(o, -1, i + 1, l.get(i));
                if (i + 1 < 10) emit(o, 1, i + 2, l.get(i));
            }
            l.add(at, b);
            if (l.size() > 10) l.remove(10);
            emit(o, 1, at + 1, b);
            top.update(l);
            if (l.size() == 10) floor.update(l.get(9).price);
        }
    }

    // ---- q20: bids joined with their auction of category 10, unbounded ----
    static void q20(DataStream<Event> e) {
        var aucs = e.flatMap((Event x, Collector<Auction> o) -> { if (x.kind == 1 && x.auction.category == 10) o.collect(x.auction); }).returns(AUCTION);
        var out = aucs.keyBy(a -> a.id, Types.LONG).connect(bids(e).keyBy(b -> b.auction, Types.LONG)).process(new Q20()).uid("q20")
            .returns(Types.TUPLE(BID, AUCTION));
        sink(out, (h, t) -> {
            Auction a = t.f1;
            return h.bid(t.f0).s(a.itemName).s(a.description).i(a.initialBid).i(a.reserve).i(a.ts).i(a.expires).i(a.seller).i(a.category)
                .s(a.extra).done();
        });
    }

    static final class Q20 extends KeyedCoProcessFunction<Long, Auction, Bid, Tuple2<Bid, Auction>> {
        private transient ValueState<Auction> auction;
        private transient ListState<Bid> waiting;
        private transient Tuple2<Bid, Auction> out;
        @Override public void open(OpenContext c) {
            auction = getRuntimeContext().getState(new ValueStateDescriptor<>("auction", AUCTION));
            waiting = getRuntimeContext().getListState(new ListStateDescriptor<>("waiting", BID));
            out = new Tuple2<>();
        }
        private void emit(Collector<Tuple2<Bid, Auction>> o, Bid b, Auction a) {
            out.f0 = b; out.f1 = a;
            o.collect(out);
        }
        @Override public void processElement1(Auction a, Context c, Collector<Tuple2<Bid, Auction>> o) throws Exception {
            auction.update(a);
            boolean any = false;
            Iterable<Bid> l = waiting.get();
            if (l != null) for (Bid b : l) { any = true; emit(o, b, a); }
            if (any) waiting.clear();
        }
        @Override public void processElement2(Bid b, Context c, Collector<Tuple2<Bid, Auction>> o) throws Exception {
            Auction a = auction.value();
            if (a != null) emit(o, b, a); else waiting.add(b);
        }
    }
}
