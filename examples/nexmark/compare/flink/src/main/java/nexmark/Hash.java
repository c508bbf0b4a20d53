package nexmark;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import nexmark.Model.*;

/** Row hash; SPEC.md section 3. A tiny value builder: start, then i/s for each field, then done. */
public final class Hash {
    private static final VarHandle LE = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);
    private long h;

    public Hash start() { h = 0xCBF29CE484222325L; return this; }

    public Hash i(long v) {
        long x = (h ^ v) * Gen.GAMMA;
        h = x ^ (x >>> 32);
        return this;
    }

    public Hash s(String v) {
        byte[] b = v.getBytes(StandardCharsets.ISO_8859_1);
        i(b.length);
        int at = 0;
        for (; at + 8 <= b.length; at += 8) i((long) LE.get(b, at));
        if (at < b.length) {
            long w = 0;
            for (int k = 0; at < b.length; k += 8) w |= (b[at++] & 0xFFL) << k;
            i(w);
        }
        return this;
    }

    public long done() { return Gen.mix(h); }

    public Hash bid(Bid b) { return i(b.auction).i(b.bidder).i(b.price).i(b.ts).s(b.extra); }

    public long event(Event e) {
        start();
        if (e.kind == 0) {
            Person p = e.person;
            return i(0).i(p.id).s(p.name).s(p.email).s(p.creditCard).s(p.city).s(p.state).i(p.ts).s(p.extra).done();
        }
        if (e.kind == 1) {
            Auction a = e.auction;
            return i(1).i(a.id).s(a.itemName).s(a.description).i(a.initialBid).i(a.reserve).i(a.ts).i(a.expires).i(a.seller)
                .i(a.category).s(a.extra).done();
        }
        return i(2).bid(e.bid).done();
    }
}
