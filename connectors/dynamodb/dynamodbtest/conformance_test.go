package dynamodbtest_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace-io/millrace/connectors/dynamodb/dynamodbtest"
)

// conformance lists what every server must do. moto is the reason why moto is known to differ from the service, or "".
var conformance = []struct {
	name string
	run  func(*testing.T, target)
	moto string
}{
	{"values come back", roundTrip, ""},
	{"numbers are exact and plain", numbers, "5.2 stores a number as it was written, and refuses none for its digits or magnitude"},
	{"conditions", conditions, ""},
	{"comparison of different types", otherTypes, "5.2 answers status 500 to a comparison of a number with a string"},
	{"invalid expressions", invalidExpressions, "5.2 answers status 500 to most syntax errors and does not refuse unused values"},
	{"updates", updates, ""},
	{"updates that are refused", badUpdates, ""},
	{"return values", returnValues, ""},
	{"failed condition shows the item", conditionShowsItem, ""},
	{"keys are checked", keysChecked, ""},
	{"sizes and sets are checked", sizesChecked, "5.2 counts the size of the JSON text and accepts duplicates in a set"},
	{"key sizes and index keys are checked", keySizes, "5.2 does not check index keys"},
	{"query", queries, ""},
	{"query pages", queryPages, ""},
	{"query index", queryIndex, ""},
	{"scan", scans, ""},
	{"projection", projections, "5.2 drops list elements from a projection with two of them"},
	{"batch write", batchWrites, ""},
	{"batch write is refused whole", batchRefused, "5.2 accepts a duplicate key and 26 items, and writes what comes before the fault"},
	{"batch get", batchGets, ""},
	{"transaction", transactions, ""},
	{"transaction is cancelled whole", transactionCancelled, ""},
	{"transaction token", transactionToken, "5.2 ignores ClientRequestToken"},
	{"table life cycle", tables, ""},
	{"stream records", streamRecords, ""},
	{"stream views", streamViews, ""},
	{"stream iterators", streamIterators, ""},
	{"unchanged put leaves no record", unchangedPut, "5.2 writes a MODIFY record"},
	{"disabled stream is read to its end", disabledStream, "5.2 answers status 500 to a put after the stream was disabled"},
	{"stream errors", streamErrors, "5.2 answers success or status 500"},
	{"consumed capacity", consumed, "5.2 says 1 unit whatever the size"},
}

func TestConformance(t *testing.T) {
	s := dynamodbtest.Start(dynamodbtest.Options{})
	defer s.Close()
	for _, c := range conformance {
		t.Run(c.name, func(t *testing.T) { c.run(t, fake(s)) })
	}
}

// TestConformanceOutside runs the same cases on a server of its own process.
func TestConformanceOutside(t *testing.T) {
	url := os.Getenv("DYNAMODB_ENDPOINT")
	if url == "" {
		t.Skip("needs a DynamoDB server: set DYNAMODB_ENDPOINT, e.g. by internal/services/dynamodb start")
	}
	x := outside(url)
	x.moto = os.Getenv("DYNAMODB_SERVER") == "" || os.Getenv("DYNAMODB_SERVER") == "moto"
	for _, c := range conformance {
		t.Run(c.name, func(t *testing.T) {
			if c.moto != "" && x.moto {
				t.Skipf("moto differs from the service: %s", c.moto)
			}
			c.run(t, x)
		})
	}
}

func roundTrip(t *testing.T, x target) {
	table := x.table(t)
	want := item{
		"id": str("a"), "s": str(""), "n": num("-12.5"), "b": bin("\x00\xff"), "t": truth(true), "f": truth(false), "z": null(),
		"l": list(num("1"), str("ü"), list(), object(item{})), "m": object(item{"x": object(item{"y": num("0")})}),
		"ss": strs("b", "a"), "ns": nums("3", "1"), "bs": bins([]byte("q"), []byte("p")), "snow ☃.name": str("\"\\\n\u2028"),
	}
	x.put(t, table, want)
	equal(t, "item", x.get(t, table, item{"id": str("a")}), want)
	if got := x.get(t, table, item{"id": str("b")}); len(got) != 0 {
		t.Errorf("missing item: got %s, want none", showItem(got))
	}
}

func numbers(t *testing.T, x target) {
	table := x.table(t)
	// Expected by the service's documented rules: no leading and trailing zeros, plain notation.
	for in, want := range map[string]string{
		"007": "7", "1.50": "1.5", "-0": "0", "1e3": "1000", "12E-4": "0.0012", "0.10": "0.1", "+5": "5",
		"12345678901234567890123456789012345678":       "12345678901234567890123456789012345678",
		"0.12345678901234567890123456789012345678":     "0.12345678901234567890123456789012345678",
		"9.9999999999999999999999999999999999999E+125": "99999999999999999999999999999999999999" + strings.Repeat("0", 88),
		"-1E-130": "-0." + strings.Repeat("0", 129) + "1",
	} {
		x.put(t, table, item{"id": str("a"), "n": num(in)})
		equal(t, in, x.get(t, table, item{"id": str("a")}), item{"id": str("a"), "n": num(want)})
	}
	for in, text := range map[string]string{
		"": "cannot be converted to a numeric value", "1x": "cannot be converted to a numeric value: 1x", "1e": "cannot be converted", ".": "cannot be converted", "1e++5": "cannot be converted",
		"123456789012345678901234567890123456789": "more than 38 significant digits", "1E126": "overflow", "1E-131": "underflow",
	} {
		_, err := x.client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: item{"id": str("a"), "n": num(in)}})
		x.fails(t, "number "+in, err, "ValidationException", text)
	}
}

// conditionCases are decided against this item. Expected values follow the developer guide, "Comparison operator and function reference".
var conditionItem = item{
	"id": str("a"), "n": num("5"), "word": str("apple"), "nil1": null(), "flag": truth(true), "rawb": bin("ab"),
	"l": list(num("1"), str("two")), "m": object(item{"k": num("7"), "deep": list(object(item{"x": str("y")}))}),
	"tags": strs("red", "blue"), "ns": nums("1", "2"),
}

var conditionCases = []struct {
	expression string
	want       bool
}{
	{"n = :five", true}, {"n <> :five", false}, {"n < :six", true}, {"n <= :five", true}, {"n > :five", false}, {"n >= :five", true},
	{":five = n", true}, {"n = :word", false}, {"nope = :five", false}, {"nope < :five", false},
	{"word = :word", true}, {"word < :zed", true}, {"n BETWEEN :five AND :six", true}, {"n between :six and :six", false},
	{"n IN (:six, :five)", true}, {"n IN (:six)", false}, {"word IN (:word, :six)", true},
	{"attribute_exists(word)", true}, {"attribute_exists(nope)", false}, {"attribute_not_exists(nope)", true}, {"attribute_not_exists(id)", false},
	{"attribute_exists(m.k)", true}, {"attribute_exists(m.deep[0].x)", true}, {"attribute_exists(m.deep[1])", false}, {"attribute_exists(n.k)", false},
	{"attribute_type(n, :N)", true}, {"attribute_type(word, :N)", false}, {"attribute_type(nope, :N)", false},
	{"begins_with(word, :app)", true}, {"begins_with(word, :zed)", false}, {"begins_with(nope, :app)", false},
	{"contains(word, :ppl)", true}, {"contains(tags, :red)", true}, {"contains(tags, :app)", false}, {"contains(l, :two)", true}, {"contains(ns, :two)", false}, {"contains(ns, :one)", true},
	{"size(word) = :five", true}, {"size(tags) < :six", true}, {"size(l) = :two", false}, {"size(m) >= :one", true}, {"size(rawb) = :five", false},
	{"NOT n = :five", false}, {"NOT (n = :five AND word = :zed)", true}, {"n = :five AND word = :word", true}, {"n = :six OR word = :word", true},
	// AND binds tighter than OR, NOT tighter than AND.
	{"n = :five OR n = :six AND word = :zed", true}, {"(n = :five OR n = :six) AND word = :zed", false}, {"NOT n = :six AND word = :word", true},
	{"m.k > :six", true}, {"l[0] = :one", true}, {"l[9] = :one", false}, {"nil1 = :null", true}, {"flag = :true", true}, {"m.deep[0].x = :y", true},
}

var conditionValues = item{
	":five": num("5.0"), ":six": num("6"), ":one": num("1"), ":word": str("apple"), ":zed": str("zed"), ":N": str("N"), ":app": str("app"), ":ppl": str("ppl"),
	":red": str("red"), ":two": str("two"), ":null": null(), ":true": truth(true), ":y": str("y"),
}

// used keeps the values that an expression names: the service refuses unused ones.
func used(expression string, values item) item {
	out := item{}
	for _, w := range strings.FieldsFunc(expression, func(r rune) bool { return strings.ContainsRune(" ,()=<>+-[]", r) }) {
		if v, ok := values[w]; ok {
			out[w] = v
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func conditions(t *testing.T, x target) {
	table := x.table(t)
	x.put(t, table, conditionItem)
	for _, c := range conditionCases {
		_, err := x.client.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{TableName: &table, Key: item{"id": str("a")},
			UpdateExpression: p("SET seen = :seen"), ConditionExpression: p(c.expression), ExpressionAttributeValues: with(item{":seen": num("1")}, used(c.expression, conditionValues))})
		want := ""
		if !c.want {
			want = "ConditionalCheckFailedException"
		}
		if got := code(err); got != want {
			t.Errorf("%s: got %q (%v), want %q", c.expression, got, err, want)
		}
	}
	_, err := x.client.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: &table, Key: item{"id": str("none")}, ConditionExpression: p("attribute_exists(id)")})
	x.fails(t, "delete of a missing item", err, "ConditionalCheckFailedException", "The conditional request failed")
}

func otherTypes(t *testing.T, x target) {
	table := x.table(t)
	x.put(t, table, conditionItem)
	for _, cond := range []string{"n < :word", "n >= :word", "word > :five", "n BETWEEN :word AND :zed"} {
		_, err := x.client.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: &table, Key: item{"id": str("a")}, ConditionExpression: p(cond), ExpressionAttributeValues: used(cond, conditionValues)})
		x.fails(t, cond, err, "ConditionalCheckFailedException", "The conditional request failed")
	}
}

func invalidExpressions(t *testing.T, x target) {
	table := x.table(t)
	x.put(t, table, conditionItem)
	for expression, text := range map[string]string{
		"n = ":                    `Syntax error; token: "<EOF>"`,
		"n == :five":              `Syntax error; token: "="`,
		"(n = :five":              `Syntax error; token: "<EOF>"`,
		"n = :five)":              `Syntax error; token: ")"`,
		"n = :nobody":             "An expression attribute value used in expression is not defined; attribute value: :nobody",
		"#nobody = :five":         "An expression attribute name used in the document path is not defined; attribute name: #nobody",
		"status = :five":          "Attribute name is a reserved keyword; reserved keyword: status",
		"exists(n)":               "Invalid function name; function: exists",
		"begins_with(word)":       "Incorrect number of operands for operator or function; operator or function: begins_with, number of operands: 1",
		"begins_with(word, :six)": "Incorrect operand type for operator or function; operator or function: begins_with, operand type: N",
		"n BETWEEN :six AND :one": "requires upper bound to be greater than or equal to lower bound",
		"n ! :five":               `Syntax error; token: "!"`,
	} {
		_, err := x.client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: item{"id": str("a")}, ConditionExpression: p(expression), ExpressionAttributeValues: used(expression, conditionValues)})
		x.fails(t, expression, err, "ValidationException", text)
	}
	_, err := x.client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: item{"id": str("a")}, ConditionExpression: p("n = :v"), ExpressionAttributeValues: item{":v": num("5"), ":w": num("6")}})
	x.fails(t, "unused value", err, "ValidationException", "unused in expressions: keys: {:w}")
	_, err = x.client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: item{"id": str("a")}, ConditionExpression: p("attribute_exists(n)"), ExpressionAttributeNames: map[string]string{"#n": "n"}})
	x.fails(t, "unused name", err, "ValidationException", "unused in expressions: keys: {#n}")
	equal(t, "item after all refusals", x.get(t, table, item{"id": str("a")}), conditionItem)
}

var updateCases = []struct {
	expression string
	values     item
	want       item // changes to updateItem; nil value: removed
}{
	{"SET n = :v", item{":v": num("9")}, item{"n": num("9")}},
	{"SET n = n + :v, n2 = n", item{":v": num("2")}, item{"n": num("7"), "n2": num("5")}}, // right sides see the old item
	{"SET n = n - :v", item{":v": num("0.1")}, item{"n": num("4.9")}},
	{"SET fresh = if_not_exists(fresh, :v), n = if_not_exists(n, :v)", item{":v": num("1")}, item{"fresh": num("1")}},
	{"SET c = if_not_exists(c, :zero) + :v", item{":zero": num("0"), ":v": num("3")}, item{"c": num("3")}},
	{"SET l = list_append(l, :l)", item{":l": list(str("z"))}, item{"l": list(str("a"), str("b"), str("c"), str("z"))}},
	{"SET l = list_append(:l, l)", item{":l": list(str("z"))}, item{"l": list(str("z"), str("a"), str("b"), str("c"))}},
	{"SET l[1] = :v", item{":v": str("B")}, item{"l": list(str("a"), str("B"), str("c"))}},
	{"SET l[9] = :v", item{":v": str("d")}, item{"l": list(str("a"), str("b"), str("c"), str("d"))}},
	{"SET m.k = :v, m.j = :v", item{":v": num("1")}, item{"m": object(item{"k": num("1"), "j": num("1"), "in": object(item{"x": num("1")})})}},
	{"SET m.#in.x = :v", item{":v": num("2")}, item{"m": object(item{"k": num("7"), "in": object(item{"x": num("2")})})}},
	{"REMOVE n, l[0], l[2], m.k", nil, item{"n": nil, "l": list(str("b")), "m": object(item{"in": object(item{"x": num("1")})})}},
	{"REMOVE nope", nil, item{}},
	{"ADD n :v, fresh :v", item{":v": num("2")}, item{"n": num("7"), "fresh": num("2")}},
	{"ADD tags :v", item{":v": strs("blue", "green")}, item{"tags": strs("blue", "green", "red")}},
	{"ADD fresh :v", item{":v": strs("x")}, item{"fresh": strs("x")}},
	{"DELETE tags :v", item{":v": strs("blue", "nothing")}, item{"tags": strs("red")}},
	{"DELETE tags :v", item{":v": strs("blue", "red")}, item{"tags": nil}},
	{"DELETE nope :v", item{":v": strs("blue")}, item{}},
	{"set n = :v remove l add c :v", item{":v": num("1")}, item{"n": num("1"), "l": nil, "c": num("1")}},
	{"SET n = :big + :v", item{":big": num("12345678901234567890123456789012345677"), ":v": num("1")}, item{"n": num("12345678901234567890123456789012345678")}},
}

var updateItem = item{"id": str("a"), "n": num("5"), "l": list(str("a"), str("b"), str("c")), "tags": strs("red", "blue"),
	"m": object(item{"k": num("7"), "in": object(item{"x": num("1")})}), "word": str("w")}

func updates(t *testing.T, x target) {
	table := x.table(t)
	for _, c := range updateCases {
		x.put(t, table, updateItem)
		in := &dynamodb.UpdateItemInput{TableName: &table, Key: item{"id": str("a")}, UpdateExpression: p(c.expression), ExpressionAttributeValues: c.values}
		if strings.Contains(c.expression, "#in") {
			in.ExpressionAttributeNames = map[string]string{"#in": "in"}
		}
		if _, err := x.client.UpdateItem(t.Context(), in); err != nil {
			t.Errorf("%s: %v", c.expression, err)
			continue
		}
		want := with(updateItem, c.want)
		for k, v := range want {
			if v == nil {
				delete(want, k)
			}
		}
		equal(t, c.expression, x.get(t, table, item{"id": str("a")}), want)
	}
	if _, err := x.client.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{TableName: &table, Key: item{"id": str("new")}, UpdateExpression: p("SET a = :v"), ExpressionAttributeValues: item{":v": num("1")}}); err != nil {
		t.Fatal(err)
	}
	equal(t, "upsert", x.get(t, table, item{"id": str("new")}), item{"id": str("new"), "a": num("1")})
}

func badUpdates(t *testing.T, x target) {
	table := x.table(t)
	x.put(t, table, updateItem)
	one := item{":v": num("1")}
	for _, c := range []struct {
		expression string
		values     item
		text       string
	}{
		{"SET n = nope", nil, "refers to an attribute that does not exist in the item"},
		{"SET n = word + :v", one, "incorrect data type"},
		{"SET x.y = :v", one, "document path provided in the update expression is invalid"},
		{"SET n = :v, n = :v", one, "Two document paths overlap with each other"},
		{"SET m = :v REMOVE m.k", one, "Two document paths overlap with each other"},
		{"SET id = :v", item{":v": str("b")}, "Cannot update attribute id. This attribute is part of the key"},
		{"ADD word :v", one, "incorrect data type"},
		{"ADD n :v", item{":v": str("x")}, "Incorrect operand type for operator or function; operator: ADD, operand type: STRING"},
		{"SET n = :v SET l = :v", one, `The "SET" section can only be used once`},
		{"SET n :v", one, "Syntax error"},
		{"UPSERT n = :v", one, "Syntax error"},
		{"", nil, "The expression can not be empty"},
	} {
		_, err := x.client.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{TableName: &table, Key: item{"id": str("a")}, UpdateExpression: p(c.expression), ExpressionAttributeValues: c.values})
		x.fails(t, c.expression, err, "ValidationException", c.text)
	}
	equal(t, "item after all refusals", x.get(t, table, item{"id": str("a")}), updateItem)
}

func returnValues(t *testing.T, x target) {
	table := x.table(t)
	key := item{"id": str("a")}
	put := func(v string, want item) {
		t.Helper()
		out, err := x.client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: with(key, item{"n": num(v), "o": num("0")}), ReturnValues: "ALL_OLD"})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "put", out.Attributes, want)
	}
	put("1", nil)
	put("2", item{"id": str("a"), "n": num("1"), "o": num("0")})
	for i, c := range []struct {
		mode types.ReturnValue
		want item
	}{
		{"NONE", nil}, {"UPDATED_OLD", item{"n": num("3")}}, {"UPDATED_NEW", item{"n": num("5")}},
		{"ALL_OLD", item{"id": str("a"), "n": num("5"), "o": num("0")}}, {"ALL_NEW", item{"id": str("a"), "n": num("7"), "o": num("0")}},
	} {
		out, err := x.client.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{TableName: &table, Key: key, UpdateExpression: p("ADD n :v"), ExpressionAttributeValues: item{":v": num("1")}, ReturnValues: c.mode})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, fmt.Sprint(i, c.mode), out.Attributes, c.want)
	}
	out, err := x.client.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: &table, Key: key, ReturnValues: "ALL_OLD"})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "delete", out.Attributes, item{"id": str("a"), "n": num("7"), "o": num("0")})
	_, err = x.client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: key, ReturnValues: "ALL_NEW"})
	x.fails(t, "put ALL_NEW", err, "ValidationException", "ReturnValues can only be ALL_OLD or NONE")
}
