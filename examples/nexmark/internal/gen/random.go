package gen

const (
	gamma    = 0x9E3779B97F4A7C15
	textSize = 1 << 16
)

// text is the constant text that most strings are parts of: making one allocates nothing.
var text = makeText()

func makeText() string {
	b := make([]byte, textSize+1024)
	for i := range b {
		b[i] = 'a' + byte(bounded(hi(Mix64(uint64(i+1)*gamma)), 26))
	}
	return string(b)
}

// part is n bytes of text; the low 16 bits of at say from where. n is at most 1024.
func part(at, n uint64) string {
	at &= textSize - 1
	return text[at : at+n]
}

// Mix64 spreads the bits of z over all 64.
// Source: the finalizer of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
func Mix64(z uint64) uint64 {
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

func hi(x uint64) uint64 { return x >> 32 }
func lo(x uint64) uint64 { return x & 0xFFFFFFFF }

// bounded is the number in [0, m) that stands to m as u stands to 2³².
func bounded(u, m uint64) uint64 { return u * m >> 32 }

// price spreads u, 32 bits, evenly over the logarithms of 100…99,999,946.
func price(u uint64) int64 {
	t := u * 384
	i, f := t>>32, lo(t)>>16
	j := i % 64
	return int64((decade[j]*65536 + (decade[j+1]-decade[j])*f) * pow10[i/64] / (65536 * 10000))
}

var pow10 = [6]uint64{1, 10, 100, 1000, 10000, 100000}

// decade is floor(10^(j/64) · 10⁶).
var decade = [65]uint64{
	1000000, 1036632, 1074607, 1113973, 1154781, 1197085, 1240937, 1286396, 1333521, 1382372, 1433012, 1485508, 1539926,
	1596338, 1654817, 1715437, 1778279, 1843422, 1910952, 1980956, 2053525, 2128751, 2206734, 2287573, 2371373, 2458244,
	2548296, 2641648, 2738419, 2838735, 2942727, 3050527, 3162277, 3278121, 3398208, 3522694, 3651741, 3785515, 3924189,
	4067944, 4216965, 4371444, 4531583, 4697588, 4869675, 5048065, 5232991, 5424690, 5623413, 5829415, 6042963, 6264335,
	6493816, 6731703, 6978305, 7233941, 7498942, 7773650, 8058421, 8353625, 8659643, 8976871, 9305720, 9646616, 10000000,
}

var (
	firsts = [11]string{"Ada", "Bruno", "Chloe", "Dmitri", "Elena", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kira"}
	lasts  = [9]string{"Adler", "Brandt", "Costa", "Duval", "Eriksen", "Fontana", "Grieg", "Holm", "Ivanov"}
	cities = [10]string{"Tucson", "Fresno", "Oakland", "Boise", "Salem", "Eugene", "Tacoma", "Spokane", "Laramie", "Casper"}
	states = [6]string{"AZ", "CA", "ID", "OR", "WA", "WY"}
	names  = fullNames()
)

func fullNames() (all [len(firsts)][len(lasts)]string) {
	for i, f := range firsts {
		for j, l := range lasts {
			all[i][j] = f + " " + l
		}
	}
	return all
}
