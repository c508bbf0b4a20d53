package dynamodbtest

// operations finds the decoder of an operation; nil when it is unknown.
func operations(version, name string) operation {
	switch version {
	case "DynamoDB_20120810":
		return tableOperation(name)
	case "DynamoDBStreams_20120810":
		return streamOperation(name)
	}
	return nil
}

func tableOperation(name string) operation {
	switch name {
	case "PutItem":
		return handle((*Server).putItem)
	case "GetItem":
		return handle((*Server).getItem)
	case "UpdateItem":
		return handle((*Server).updateItem)
	case "DeleteItem":
		return handle((*Server).deleteItem)
	case "Query":
		return handle((*Server).query)
	case "Scan":
		return handle((*Server).scan)
	case "BatchWriteItem":
		return sized(handle((*Server).batchWrite))
	case "BatchGetItem":
		return handle((*Server).batchGet)
	case "TransactWriteItems":
		return handle((*Server).transactWrite)
	case "TransactGetItems":
		return handle((*Server).transactGet)
	case "CreateTable":
		return handle((*Server).createTable)
	case "DescribeTable":
		return handle((*Server).describeTable)
	case "UpdateTable":
		return handle((*Server).updateTable)
	case "DeleteTable":
		return handle((*Server).deleteTable)
	case "ListTables":
		return handle((*Server).listTables)
	case "UpdateTimeToLive":
		return handle((*Server).updateTTL)
	case "DescribeTimeToLive":
		return handle((*Server).describeTTL)
	}
	return nil
}

func streamOperation(name string) operation {
	switch name {
	case "ListStreams":
		return handle((*Server).listStreams)
	case "DescribeStream":
		return handle((*Server).describeStream)
	case "GetShardIterator":
		return handle((*Server).getShardIterator)
	case "GetRecords":
		return handle((*Server).getRecords)
	}
	return nil
}

// sized refuses a request of more than 16 MB, counted on the wire.
func sized(op operation) operation {
	return func(body []byte) (prepared, error) {
		if len(body) > batchBytesMax {
			return prepared{}, invalid("The total request size exceeds 16 MB")
		}
		return op(body)
	}
}
