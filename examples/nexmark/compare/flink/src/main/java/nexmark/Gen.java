package nexmark;

import nexmark.Model.*;

/** Event n as a pure function of (seed, n); SPEC.md sections 1 and 2. */
public final class Gen {
    static final long GAMMA = 0x9E3779B97F4A7C15L;
    public static final long BASE_US = 1_700_000_000_000_000L;
    public static final long STEP_US = 100;
    static final long[] D = {
        1000000, 1036632, 1074607, 1113973, 1154781, 1197085, 1240937, 1286396, 1333521, 1382372, 1433012, 1485508, 1539926,
        1596338, 1654817, 1715437, 1778279, 1843422, 1910952, 1980956, 2053525, 2128751, 2206734, 2287573, 2371373, 2458244,
        2548296, 2641648, 2738419, 2838735, 2942727, 3050527, 3162277, 3278121, 3398208, 3522694, 3651741, 3785515, 3924189,
        4067944, 4216965, 4371444, 4531583, 4697588, 4869675, 5048065, 5232991, 5424690, 5623413, 5829415, 6042963, 6264335,
        6493816, 6731703, 6978305, 7233941, 7498942, 7773650, 8058421, 8353625, 8659643, 8976871, 9305720, 9646616, 10000000};
    static final long[] POW10 = {1, 10, 100, 1000, 10000, 100000};
    static final String[] FIRST = "Ada Bruno Chloe Dmitri Elena Farid Greta Hugo Ines Jonas Kira".split(" ");
    static final String[] LAST = "Adler Brandt Costa Duval Eriksen Fontana Grieg Holm Ivanov".split(" ");
    static final String[] CITY = "Tucson Fresno Oakland Boise Salem Eugene Tacoma Spokane Laramie Casper".split(" ");
    static final String[] STATE = "AZ CA ID OR WA WY".split(" ");
    static final String TEXT;

    static {
        byte[] t = new byte[65536 + 1024];
        for (int i = 0; i < t.length; i++) t[i] = (byte) ('a' + bnd(hi(mix((i + 1) * GAMMA)), 26));
        TEXT = new String(t, java.nio.charset.StandardCharsets.ISO_8859_1);
    }

    private final long s;

    public Gen(long seed) { s = mix(seed + GAMMA); }

    static long mix(long z) {
        z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
        z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
        return z ^ (z >>> 31);
    }
    static long hi(long x) { return x >>> 32; }
    static long lo(long x) { return x & 0xFFFFFFFFL; }
    static long bnd(long u, long m) { return (u * m) >>> 32; }
    static String text(long off, long len) { return TEXT.substring((int) off, (int) (off + len)); }

    static long price(long u) {
        long t = u * 384, i = t >>> 32, f = (t & 0xFFFFFFFFL) >>> 16;
        int k = (int) (i / 64), j = (int) (i % 64);
        return (D[j] * 65536 + (D[j + 1] - D[j]) * f) * POW10[k] / 655360000L;
    }
    static long coldPerson(long u, long lastP) {
        long p = lastP + 1, a = Math.min(p, 1000);
        return p - a + bnd(u, a + 10);
    }
    static long coldAuction(long u, long lastA) {
        long m = Math.max(lastA - 100, 0);
        return m + bnd(u, lastA - m + 1 + 10);
    }

    /** Fills e with event n and returns its ts in microseconds. */
    public long fill(long n, Event e) {
        final long st = mix(s + n), ts = BASE_US + STEP_US * n, ep = n / 50;
        final int r = (int) (n % 50);
        final long d1 = mix(st + GAMMA), d2 = mix(st + 2 * GAMMA), d3 = mix(st + 3 * GAMMA), d4 = mix(st + 4 * GAMMA);
        if (r > 3) {
            Bid b = new Bid();
            long lastA = 3 * ep + 2;
            b.auction = 1000 + (bnd(hi(d1), 2) > 0 ? lastA / 100 * 100 : coldAuction(lo(d1), lastA));
            b.bidder = 1000 + (bnd(hi(d2), 4) > 0 ? ep / 100 * 100 + 1 : coldPerson(lo(d2), ep));
            b.price = price(hi(d3));
            b.ts = ts;
            b.extra = text(lo(d4) & 0xFFFF, 54 + bnd(hi(d4), 28));
            e.kind = 2; e.bid = b; e.auction = null; e.person = null;
        } else if (r > 0) {
            Auction a = new Auction();
            a.id = 1000 + 3 * ep + r - 1;
            a.itemName = text(lo(d3) & 0xFFFF, 20);
            a.description = text(lo(d4) & 0xFFFF, 100);
            a.initialBid = price(hi(d2));
            a.reserve = a.initialBid + price(lo(d2));
            a.ts = ts;
            a.expires = ts + 1000 * (1 + bnd(hi(d4), 333));
            a.seller = 1000 + (bnd(hi(d1), 4) > 0 ? ep / 100 * 100 : coldPerson(lo(d1), ep));
            a.category = 10 + bnd(hi(d3), 5);
            long d5 = mix(st + 5 * GAMMA);
            a.extra = text(lo(d5) & 0xFFFF, 259 + bnd(hi(d5), 130));
            e.kind = 1; e.auction = a; e.bid = null; e.person = null;
        } else {
            Person p = new Person();
            p.id = 1000 + ep;
            p.name = FIRST[(int) bnd(hi(d1), 11)] + " " + LAST[(int) bnd(lo(d1), 9)];
            p.email = text(hi(d2) & 0xFFFF, 7) + "@" + text(lo(d2) & 0xFFFF, 5) + ".com";
            p.creditCard = card(d3);
            p.city = CITY[(int) bnd(hi(d4), 10)];
            p.state = STATE[(int) bnd(lo(d4), 6)];
            p.ts = ts;
            long d5 = mix(st + 5 * GAMMA);
            p.extra = text(lo(d5) & 0xFFFF, 100 + bnd(hi(d5), 51));
            e.kind = 0; e.person = p; e.auction = null; e.bid = null;
        }
        return ts;
    }

    private static String card(long x) {
        char[] c = new char[19];
        for (int i = 0, at = 0; i < 4; i++, at++) {
            int v = (int) ((x >>> (16 * i)) & 0xFFFF) % 10000;
            c[at++] = (char) ('0' + v / 1000); c[at++] = (char) ('0' + v / 100 % 10);
            c[at++] = (char) ('0' + v / 10 % 10); c[at++] = (char) ('0' + v % 10);
            if (i < 3) c[at] = ' ';
        }
        return new String(c);
    }

    static String json(Event e) {
        if (e.kind == 0) {
            Person p = e.person;
            return String.format("{\"kind\":\"person\",\"id\":%d,\"name\":\"%s\",\"email\":\"%s\",\"creditCard\":\"%s\",\"city\":\"%s\",\"state\":\"%s\",\"ts\":%d,\"extra\":\"%s\"}",
                p.id, p.name, p.email, p.creditCard, p.city, p.state, p.ts, p.extra);
        }
        if (e.kind == 1) {
            Auction a = e.auction;
            return String.format("{\"kind\":\"auction\",\"id\":%d,\"itemName\":\"%s\",\"description\":\"%s\",\"initialBid\":%d,\"reserve\":%d,\"ts\":%d,\"expires\":%d,\"seller\":%d,\"category\":%d,\"extra\":\"%s\"}",
                a.id, a.itemName, a.description, a.initialBid, a.reserve, a.ts, a.expires, a.seller, a.category, a.extra);
        }
        Bid b = e.bid;
        return String.format("{\"kind\":\"bid\",\"auction\":%d,\"bidder\":%d,\"price\":%d,\"ts\":%d,\"extra\":\"%s\"}", b.auction, b.bidder, b.price, b.ts, b.extra);
    }
}
