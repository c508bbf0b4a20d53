package file_test

import (
	"fmt"
	"time"

	"github.com/millrace-io/millrace/connectors/file"
)

type Payment struct {
	ID  string    `avro:"id"`
	Sum int64     `avro:"sum"`
	At  time.Time `avro:"at"`
}

func ExampleNewSink() {
	sink := file.NewSink(file.Options[Payment]{
		URL:    "s3://archive/payments",
		Format: file.Parquet,
		Time:   func(p Payment) time.Time { return p.At },
	})
	fmt.Println(sink.Validate())
	// Output: <nil>
}

func ExampleNewSource() {
	source := file.NewSource(file.SourceOptions[Payment]{
		URL:       "s3://archive/payments?endpoint=http://127.0.0.1:9000",
		OnCorrupt: file.DeadLetterCorrupt,
	})
	fmt.Println(source.Validate())
	// Output: <nil>
}

func ExampleOptions_Validate() {
	fmt.Println(file.Options[Payment]{URL: "ftp://archive", OpenFiles: -1}.Validate())
	// Output:
	// file: URL is "ftp://archive", want a folder, file:///absolute/folder or s3://bucket/prefix
	// file: Options.OpenFiles is -1, want at least 1
}
