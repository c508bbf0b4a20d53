package dynamodbtest_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

func conditionShowsItem(t *testing.T, x target) {
	table := x.table(t)
	old := item{"id": str("a"), "v": num("7")}
	x.put(t, table, old)
	_, err := x.client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: item{"id": str("a"), "v": num("3")},
		ConditionExpression: p("attribute_not_exists(v) OR v < :v"), ExpressionAttributeValues: item{":v": num("3")}, ReturnValuesOnConditionCheckFailure: "ALL_OLD"})
	failed, ok := errors.AsType[*types.ConditionalCheckFailedException](err)
	if !ok {
		t.Fatalf("got %v, want ConditionalCheckFailedException", err)
	}
	equal(t, "item of the error", failed.Item, old)
	equal(t, "stored", x.get(t, table, item{"id": str("a")}), old)
}

func keysChecked(t *testing.T, x target) {
	table := x.table(t)
	for _, c := range []struct {
		what string
		item item
		text string
	}{
		{"missing key", item{"x": num("1")}, "Missing the key id in the item"},
		{"wrong type", item{"id": num("1")}, "Type mismatch for key id expected: S actual: N"},
		{"empty key", item{"id": str("")}, "empty string value. Key: id"},
	} {
		_, err := x.client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: c.item})
		x.fails(t, c.what, err, "ValidationException", c.text)
	}
	for _, key := range []item{{}, {"x": str("a")}, {"id": num("1")}, {"id": str("a"), "x": str("b")}} {
		if _, number := key["id"].(*types.AttributeValueMemberN); number && x.moto {
			t.Log("not checked, moto differs from the service: 5.2 does not check the type of a key that is read")
			continue
		}
		_, err := x.client.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: &table, Key: key})
		x.fails(t, "key "+showItem(key), err, "ValidationException", "The provided key element does not match the schema")
	}
	_, err := x.client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: p("no-such-table"), Item: item{"id": str("a")}})
	x.fails(t, "missing table", err, "ResourceNotFoundException", "Requested resource not found")
}

// sizesChecked: the size of {"id": "a", "x": 409596 bytes} is 2+1+1+409596 = 409600 = 400 KB exactly.
func sizesChecked(t *testing.T, x target) {
	table := x.table(t)
	x.put(t, table, item{"id": str("a"), "x": str(strings.Repeat("x", 409596))})
	for _, c := range []struct {
		what string
		item item
		text string
	}{
		{"one byte too large", item{"id": str("a"), "x": str(strings.Repeat("x", 409597))}, "Item size has exceeded the maximum allowed size"},
		{"empty set", item{"id": str("a"), "x": strs()}, "may not be empty"},
		{"duplicates in a set", item{"id": str("a"), "x": strs("b", "b")}, "contains duplicates"},
		{"duplicate numbers in a set", item{"id": str("a"), "x": nums("1", "1.0")}, "contains duplicates"},
	} {
		_, err := x.client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: c.item})
		x.fails(t, c.what, err, "ValidationException", c.text)
	}
	_, err := x.client.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{TableName: &table, Key: item{"id": str("a")}, UpdateExpression: p("SET y = :y"), ExpressionAttributeValues: item{":y": truth(true)}})
	x.fails(t, "grown too large", err, "ValidationException", "Item size to update has exceeded the maximum allowed size")
}

func keySizes(t *testing.T, x target) {
	table := x.table(t, withIndex)
	_, err := x.client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: item{"id": str(strings.Repeat("k", 2049))}})
	x.fails(t, "hash key of 2049 bytes", err, "ValidationException", "Size of hashkey has exceeded the maximum size limit of2048 bytes")
	x.put(t, table, item{"id": str(strings.Repeat("k", 2048))})
	_, err = x.client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: item{"id": str("a"), "customer": num("1")}})
	x.fails(t, "index key of the wrong type", err, "ValidationException", "Type mismatch for Index Key customer Expected: S Actual: N IndexName: by-customer")
}

// collect runs a query to its end and returns the attribute n of each item, and the number of pages.
func collect(t *testing.T, x target, in *dynamodb.QueryInput) (got []string, pages int) {
	t.Helper()
	for {
		out, err := x.client.Query(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		pages++
		for _, i := range out.Items {
			got = append(got, show(i["n"]))
		}
		if in.ExclusiveStartKey = out.LastEvaluatedKey; len(in.ExclusiveStartKey) == 0 {
			return got, pages
		}
	}
}

func queries(t *testing.T, x target) {
	table := x.table(t, withRange)
	for _, n := range []string{"-10", "-1.5", "-1", "0", "2", "10", "100"} {
		x.put(t, table, item{"id": str("a"), "n": num(n), "even": truth(len(n)%2 == 0)})
		x.put(t, table, item{"id": str("b"), "n": num(n)})
	}
	for _, c := range []struct {
		cond   string
		values item
		want   string
	}{
		{"id = :id", nil, "-10 -1.5 -1 0 2 10 100"},
		{"id = :id AND n > :x", item{":x": num("-1")}, "0 2 10 100"},
		{"id = :id AND n <= :x", item{":x": num("-1")}, "-10 -1.5 -1"},
		{"n = :x AND id = :id", item{":x": num("10")}, "10"},
		{"id = :id AND n BETWEEN :x AND :y", item{":x": num("-1.5"), ":y": num("2")}, "-1.5 -1 0 2"},
		{"(id = :id) AND (n < :x)", item{":x": num("-100")}, ""},
	} {
		in := &dynamodb.QueryInput{TableName: &table, KeyConditionExpression: p(c.cond), ExpressionAttributeValues: with(item{":id": str("a")}, c.values)}
		got, _ := collect(t, x, in)
		if g := strings.Join(got, " "); g != c.want {
			t.Errorf("%s: got %s, want %s", c.cond, g, c.want)
		}
		in.ScanIndexForward = p(false)
		back, _ := collect(t, x, in)
		slices.Reverse(back)
		if g := strings.Join(back, " "); g != c.want {
			t.Errorf("%s backwards: got %s reversed, want %s", c.cond, g, c.want)
		}
	}
	for cond, text := range map[string]string{
		"n = :id": "Query condition missed key schema element: id", "id > :id": "Query key condition not supported", "id = :id OR n = :id": "Invalid operator used in KeyConditionExpression: OR",
	} {
		if strings.Contains(cond, " OR ") && x.moto {
			t.Log("not checked, moto differs from the service: 5.2 answers status 500 to OR in a key condition")
			continue
		}
		_, err := x.client.Query(t.Context(), &dynamodb.QueryInput{TableName: &table, KeyConditionExpression: p(cond), ExpressionAttributeValues: item{":id": str("a")}})
		x.fails(t, cond, err, "ValidationException", text)
	}
}

func queryPages(t *testing.T, x target) {
	table := x.table(t, withRange)
	var want []string
	for n := range 23 {
		x.put(t, table, item{"id": str("a"), "n": num(fmt.Sprint(n)), "odd": truth(n%2 == 1)})
		if n%2 == 1 {
			want = append(want, fmt.Sprint(n))
		}
	}
	in := &dynamodb.QueryInput{TableName: &table, KeyConditionExpression: p("id = :id"), FilterExpression: p("odd = :t"), Limit: p(int32(5)), ExpressionAttributeValues: item{":id": str("a"), ":t": truth(true)}}
	got, pages := collect(t, x, in)
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	// The limit counts the items looked at, not those that pass the filter.
	if pages != 5 {
		t.Errorf("got %d pages, want 5: 23 items looked at by 5", pages)
	}
	in.ScanIndexForward, in.ExclusiveStartKey = p(false), nil
	got, _ = collect(t, x, in)
	slices.Reverse(got)
	if !slices.Equal(got, want) {
		t.Errorf("backwards: got %v reversed, want %v", got, want)
	}
	big := strings.Repeat("x", 300<<10)
	for n := range 8 {
		x.put(t, table, item{"id": str("big"), "n": num(fmt.Sprint(n)), "x": str(big)})
	}
	got, pages = collect(t, x, &dynamodb.QueryInput{TableName: &table, KeyConditionExpression: p("id = :id"), ExpressionAttributeValues: item{":id": str("big")}})
	if len(got) != 8 || pages < 2 {
		t.Errorf("2.4 MB: got %d items on %d pages, want 8 on at least 2", len(got), pages)
	}
}

func queryIndex(t *testing.T, x target) {
	table := x.table(t, withIndex)
	for n := range 6 {
		x.put(t, table, item{"id": str(fmt.Sprint("d", n)), "customer": str(fmt.Sprint("c", n%2)), "at": num(fmt.Sprint(n / 2)), "n": num(fmt.Sprint(n))})
	}
	x.put(t, table, item{"id": str("sparse"), "customer": str("c0")})
	query := func(want string) {
		t.Helper()
		in := &dynamodb.QueryInput{TableName: &table, IndexName: p("by-customer"), KeyConditionExpression: p("customer = :c"), ExpressionAttributeValues: item{":c": str("c0")}, Limit: p(int32(2))}
		if got, _ := collect(t, x, in); strings.Join(got, " ") != want {
			t.Errorf("got %v, want %s", got, want)
		}
	}
	query("0 2 4")
	x.put(t, table, item{"id": str("d2"), "customer": str("c1"), "at": num("9"), "n": num("2")}) // moves to the other customer
	query("0 4")
	if _, err := x.client.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: &table, Key: item{"id": str("d0")}}); err != nil {
		t.Fatal(err)
	}
	query("4")
	x.unlessMoto(t, "5.2 answers ResourceNotFoundException for an unknown index", func() {
		_, err := x.client.Query(t.Context(), &dynamodb.QueryInput{TableName: &table, IndexName: p("no-index"), KeyConditionExpression: p("customer = :c"), ExpressionAttributeValues: item{":c": str("c0")}})
		x.fails(t, "unknown index", err, "ValidationException", "The table does not have the specified index: no-index")
	})
}

func scans(t *testing.T, x target) {
	table := x.table(t)
	want := map[string]bool{}
	for n := range 30 {
		id := fmt.Sprint("i", n)
		x.put(t, table, item{"id": str(id), "n": num(fmt.Sprint(n))})
		want[id] = n >= 10
	}
	in := &dynamodb.ScanInput{TableName: &table, Limit: p(int32(7)), FilterExpression: p("n >= :ten"), ExpressionAttributeValues: item{":ten": num("10")}}
	got := map[string]int{}
	for {
		out, err := x.client.Scan(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		if out.ScannedCount > 7 || int(out.Count) != len(out.Items) {
			t.Errorf("page: scanned %d, count %d, %d items", out.ScannedCount, out.Count, len(out.Items))
		}
		for _, i := range out.Items {
			got[i["id"].(*types.AttributeValueMemberS).Value]++
		}
		if in.ExclusiveStartKey = out.LastEvaluatedKey; len(in.ExclusiveStartKey) == 0 {
			break
		}
	}
	for id, in := range want {
		if n := got[id]; (n == 1) != in || n > 1 {
			t.Errorf("%s: found %d times, wanted once: %t", id, n, in)
		}
	}
}

func projections(t *testing.T, x target) {
	table := x.table(t)
	x.put(t, table, item{"id": str("a"), "n": num("1"), "m": object(item{"a": num("1"), "b": num("2")}), "l": list(num("0"), num("1"), object(item{"x": num("2"), "y": num("3")}))})
	out, err := x.client.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: &table, Key: item{"id": str("a")},
		ProjectionExpression: p("#n, m.b, l[2].x, l[0], nope"), ExpressionAttributeNames: map[string]string{"#n": "n"}})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "projected", out.Item, item{"n": num("1"), "m": object(item{"b": num("2")}), "l": list(num("0"), object(item{"x": num("2")}))})
}

func putRequest(i item) types.WriteRequest {
	return types.WriteRequest{PutRequest: &types.PutRequest{Item: i}}
}

func batch(table string, r ...types.WriteRequest) *dynamodb.BatchWriteItemInput {
	return &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{table: r}}
}

func batchWrites(t *testing.T, x target) {
	table, other := x.table(t), x.table(t, withRange)
	x.put(t, table, item{"id": str("old")})
	in := batch(table, types.WriteRequest{DeleteRequest: &types.DeleteRequest{Key: item{"id": str("old")}}})
	for n := range 23 {
		in.RequestItems[table] = append(in.RequestItems[table], putRequest(item{"id": str(fmt.Sprint(n))}))
	}
	in.RequestItems[other] = []types.WriteRequest{putRequest(item{"id": str("a"), "n": num("1")})}
	out, err := x.client.BatchWriteItem(t.Context(), in)
	if err != nil || len(out.UnprocessedItems) != 0 {
		t.Fatalf("got %v, unprocessed %v", err, out)
	}
	if got := x.get(t, table, item{"id": str("old")}); len(got) != 0 {
		t.Errorf("deleted item is there: %s", showItem(got))
	}
	equal(t, "last put", x.get(t, table, item{"id": str("22")}), item{"id": str("22")})
	equal(t, "other table", x.get(t, other, item{"id": str("a"), "n": num("1")}), item{"id": str("a"), "n": num("1")})
}

func batchRefused(t *testing.T, x target) {
	table := x.table(t)
	good := putRequest(item{"id": str("good")})
	many := make([]types.WriteRequest, 26)
	for n := range many {
		many[n] = putRequest(item{"id": str(fmt.Sprint(n))})
	}
	for what, c := range map[string]struct {
		in   *dynamodb.BatchWriteItemInput
		code string
		text string
	}{
		"duplicate key":           {batch(table, good, putRequest(item{"id": str("x")}), types.WriteRequest{DeleteRequest: &types.DeleteRequest{Key: item{"id": str("x")}}}), "ValidationException", "Provided list of item keys contains duplicates"},
		"26 items":                {batch(table, many...), "ValidationException", "Too many items requested for the BatchWriteItem call"},
		"too large":               {batch(table, good, putRequest(item{"id": str("x"), "x": str(strings.Repeat("x", 400<<10))})), "ValidationException", "Item size has exceeded the maximum allowed size"},
		"wrong key type":          {batch(table, good, putRequest(item{"id": num("1")})), "ValidationException", "Type mismatch for key id"},
		"second table is missing": {&dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{table: {good}, "zz-no-such-table": {good}}}, "ResourceNotFoundException", "Requested resource not found"},
	} {
		_, err := x.client.BatchWriteItem(t.Context(), c.in)
		x.fails(t, what, err, c.code, c.text)
	}
	if got := x.get(t, table, item{"id": str("good")}); len(got) != 0 {
		t.Errorf("a refused batch wrote %s", showItem(got))
	}
}

func batchGets(t *testing.T, x target) {
	table := x.table(t)
	var keys []item
	for n := range 10 {
		x.put(t, table, item{"id": str(fmt.Sprint(n)), "x": num(fmt.Sprint(n))})
		keys = append(keys, item{"id": str(fmt.Sprint(n))})
	}
	keys = append(keys, item{"id": str("missing")})
	out, err := x.client.BatchGetItem(t.Context(), &dynamodb.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{table: {Keys: keys}}})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(out.Responses[table]); n != 10 || len(out.UnprocessedKeys) != 0 {
		t.Errorf("got %d items, %d tables unprocessed, want 10 and 0", n, len(out.UnprocessedKeys))
	}
	_, err = x.client.BatchGetItem(t.Context(), &dynamodb.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{table: {Keys: append(keys, keys[0])}}})
	x.fails(t, "duplicate keys", err, "ValidationException", "Provided list of item keys contains duplicates")
}

func transactPut(table string, i item, cond *string, values item) types.TransactWriteItem {
	return types.TransactWriteItem{Put: &types.Put{TableName: &table, Item: i, ConditionExpression: cond, ExpressionAttributeValues: values}}
}

func transactions(t *testing.T, x target) {
	table := x.table(t)
	x.put(t, table, item{"id": str("u"), "n": num("1")})
	x.put(t, table, item{"id": str("d")})
	_, err := x.client.TransactWriteItems(t.Context(), &dynamodb.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{
		transactPut(table, item{"id": str("p")}, p("attribute_not_exists(id)"), nil),
		{Update: &types.Update{TableName: &table, Key: item{"id": str("u")}, UpdateExpression: p("ADD n :one"), ExpressionAttributeValues: item{":one": num("1")}}},
		{Delete: &types.Delete{TableName: &table, Key: item{"id": str("d")}}},
		{ConditionCheck: &types.ConditionCheck{TableName: &table, Key: item{"id": str("nobody")}, ConditionExpression: p("attribute_not_exists(id)")}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	out, err := x.client.TransactGetItems(t.Context(), &dynamodb.TransactGetItemsInput{TransactItems: []types.TransactGetItem{
		{Get: &types.Get{TableName: &table, Key: item{"id": str("p")}}}, {Get: &types.Get{TableName: &table, Key: item{"id": str("d")}}}, {Get: &types.Get{TableName: &table, Key: item{"id": str("u")}}},
	}})
	if err != nil || len(out.Responses) != 3 {
		t.Fatalf("got %v, %v", out, err)
	}
	for i, want := range []item{{"id": str("p")}, nil, {"id": str("u"), "n": num("2")}} {
		equal(t, fmt.Sprint("item ", i), out.Responses[i].Item, want)
	}
}

func transactionCancelled(t *testing.T, x target) {
	table := x.table(t)
	x.put(t, table, item{"id": str("a"), "v": num("5")})
	_, err := x.client.TransactWriteItems(t.Context(), &dynamodb.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{
		transactPut(table, item{"id": str("b")}, nil, nil), transactPut(table, item{"id": str("a")}, p("v < :v"), item{":v": num("5")}),
	}})
	failed, ok := errors.AsType[*types.TransactionCanceledException](err)
	if !ok || len(failed.CancellationReasons) != 2 || *failed.CancellationReasons[0].Code != "None" || *failed.CancellationReasons[1].Code != "ConditionalCheckFailed" {
		t.Fatalf("got %v, want TransactionCanceledException with reasons None, ConditionalCheckFailed", err)
	}
	if got := x.get(t, table, item{"id": str("b")}); len(got) != 0 {
		t.Errorf("a cancelled transaction wrote %s", showItem(got))
	}
	_, err = x.client.TransactWriteItems(t.Context(), &dynamodb.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{transactPut(table, item{"id": str("b")}, nil, nil), transactPut(table, item{"id": str("b")}, nil, nil)}})
	x.fails(t, "one item twice", err, "ValidationException", "cannot include multiple operations on one item")
}

func transactionToken(t *testing.T, x target) {
	table := x.table(t)
	in := &dynamodb.TransactWriteItemsInput{ClientRequestToken: p("token-" + table), TransactItems: []types.TransactWriteItem{
		{Update: &types.Update{TableName: &table, Key: item{"id": str("c")}, UpdateExpression: p("ADD n :one"), ExpressionAttributeValues: item{":one": num("1")}}},
	}}
	for range 2 {
		if _, err := x.client.TransactWriteItems(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "after two calls with one token", x.get(t, table, item{"id": str("c")}), item{"id": str("c"), "n": num("1")})
	in.TransactItems[0].Update.ExpressionAttributeValues = item{":one": num("2")}
	_, err := x.client.TransactWriteItems(t.Context(), in)
	x.fails(t, "same token, other request", err, "IdempotentParameterMismatchException", "same client token")
}

// tables lists all tables, two on a page.
func (x target) tables(t *testing.T) (names []string) {
	t.Helper()
	in := &dynamodb.ListTablesInput{Limit: p(int32(2))}
	for {
		out, err := x.client.ListTables(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, out.TableNames...)
		if in.ExclusiveStartTableName = out.LastEvaluatedTableName; in.ExclusiveStartTableName == nil {
			return names
		}
	}
}

func tables(t *testing.T, x target) {
	table := x.table(t, withIndex)
	out, err := x.client.DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: &table})
	if err != nil {
		t.Fatal(err)
	}
	d := out.Table
	if d.TableStatus != "ACTIVE" || len(d.KeySchema) != 1 || len(d.AttributeDefinitions) != 3 || len(d.GlobalSecondaryIndexes) != 1 || d.LatestStreamArn == nil || d.BillingModeSummary == nil || d.BillingModeSummary.BillingMode != "PAY_PER_REQUEST" {
		t.Errorf("description: %+v", d)
	}
	_, err = x.client.CreateTable(t.Context(), &dynamodb.CreateTableInput{TableName: &table, BillingMode: "PAY_PER_REQUEST", AttributeDefinitions: d.AttributeDefinitions[:1], KeySchema: d.KeySchema})
	x.fails(t, "create twice", err, "ResourceInUseException", "Table already exists: "+table)
	if !slices.Contains(x.tables(t), table) {
		t.Errorf("table %s is not listed", table)
	}
	if _, err := x.client.DeleteTable(t.Context(), &dynamodb.DeleteTableInput{TableName: &table}); err != nil {
		t.Fatal(err)
	}
	_, err = x.client.DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: &table})
	x.fails(t, "describe after delete", err, "ResourceNotFoundException", "Requested resource not found: Table: "+table+" not found")
	_, err = x.client.DeleteTable(t.Context(), &dynamodb.DeleteTableInput{TableName: &table})
	x.fails(t, "delete twice", err, "ResourceNotFoundException", "Requested resource not found: Table: "+table+" not found")
}

func consumed(t *testing.T, x target) {
	table := x.table(t)
	// 1 unit for each started KB: id, 1 byte, name and value of 2045 bytes are 2048 bytes; one more byte is a third unit.
	for n, want := range map[int]float64{2044: 2, 2045: 3} {
		out, err := x.client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: item{"id": str(fmt.Sprint(n % 10)), "x": str(strings.Repeat("x", n))}, ReturnConsumedCapacity: "TOTAL"})
		if err != nil {
			t.Fatal(err)
		}
		if got := *out.ConsumedCapacity.CapacityUnits; got != want {
			t.Errorf("put of %d bytes: %v units, want %v", n+4, got, want)
		}
	}
}
