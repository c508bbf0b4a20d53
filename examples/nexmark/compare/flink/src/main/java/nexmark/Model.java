package nexmark;

/** Record types. Public fields and empty constructors make them Flink POJOs. */
public final class Model {
    private Model() {}

    public static class Person {
        public long id; public String name, email, creditCard, city, state; public long ts; public String extra;
        public Person() {}
    }

    public static class Auction {
        public long id; public String itemName, description; public long initialBid, reserve, ts, expires, seller, category;
        public String extra;
        public Auction() {}
    }

    public static class Bid {
        public long auction, bidder, price, ts; public String extra;
        public Bid() {}
    }

    /** What the source emits: exactly one of the three is set. One instance per reader is reused; its contents are fresh. */
    public static class Event {
        public int kind; public Person person; public Auction auction; public Bid bid;
        public Event() {}
    }

    /** q17: running statistics of one (auction, day); sign is +1 for an insert row and -1 for a retract row. */
    public static class AuctionStats {
        public int sign; public long auction, day, total, n1, n2, n3, min, max, sum;
        public AuctionStats() {}
    }

    /** q4: a live auction and the best price so far (-1 = none). */
    public static class Open {
        public long ts, expires, category, best;
        public Open() {}
    }

    /** q9: times of a live auction, best price (-1 = none) and the time of that bid. */
    public static class OpenBest {
        public long ts, expires, price, bidTs;
        public OpenBest() {}
    }

    /** q7: bids that share the highest price. */
    public static class TopBids {
        public long price = -1; public java.util.List<Bid> bids = new java.util.ArrayList<>(1);
        public TopBids() {}
    }

    /** q5: auctions that share the highest count. */
    public static class TopCount {
        public long count = -1, windowEnd; public java.util.List<Long> auctions = new java.util.ArrayList<>(1);
        public TopCount() {}
    }
}
