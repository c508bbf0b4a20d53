// Package services reaches and prepares what the pipeline needs around it: DynamoDB, Kafka, schema registry, archive. Any of them may be
// embedded in this process.
package services

import (
	"cmp"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/millrace-io/millrace/connectors/dynamodb/dynamodbtest"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"
)

// Endpoints say where everything is. They hold no secrets: credentials come from the environment of each process.
type Endpoints struct {
	DynamoDB string   // http://host:port
	Brokers  []string // host:port
	Registry string   // http://host:port
	S3       string   // http://host:port, or empty for Amazon's
	Archive  string   // file:///… or s3://bucket/prefix

	// direct reaches an embedded DynamoDB within this process, past the network; nil elsewhere.
	direct http.RoundTripper
}

// awsConfig reads credentials and region from the usual environment variables. Without any, a name that emulators accept is used.
func awsConfig(endpoint string) aws.Config {
	c := aws.Config{
		Region: cmp.Or(os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"), "us-east-1"),
		Credentials: credentials.NewStaticCredentialsProvider(cmp.Or(os.Getenv("AWS_ACCESS_KEY_ID"), "local"),
			cmp.Or(os.Getenv("AWS_SECRET_ACCESS_KEY"), "local"), os.Getenv("AWS_SESSION_TOKEN")),
		HTTPClient: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
			MaxIdleConns: 128, MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true,
			DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		}},
	}
	if endpoint != "" {
		c.BaseEndpoint = aws.String(endpoint)
	}
	return c
}

// Tables is a client of DynamoDB.
func (e Endpoints) Tables() *dynamodb.Client { return dynamodb.NewFromConfig(e.dynamoDB()) }

// Streams is a client of DynamoDB Streams.
func (e Endpoints) Streams() *dynamodbstreams.Client {
	return dynamodbstreams.NewFromConfig(e.dynamoDB())
}

func (e Endpoints) dynamoDB() aws.Config {
	c := awsConfig(e.DynamoDB)
	if h, ok := c.HTTPClient.(*http.Client); ok {
		h.Transport = dynamodbtest.WholeBody(h.Transport)
	}
	if e.direct != nil {
		c.HTTPClient = &http.Client{Transport: e.direct}
		c.Credentials = aws.AnonymousCredentials{} // nobody checks signatures, and they cost more than the write
	}
	return c
}

// Buckets is a client of S3.
func (e Endpoints) Buckets() *s3.Client {
	return s3.NewFromConfig(awsConfig(e.S3), func(o *s3.Options) { o.UsePathStyle = e.S3 != "" })
}

// Kafka makes a client of the brokers.
func (e Endpoints) Kafka(opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(e.Brokers...), kgo.ClientID("decision-pipeline"), kgo.DisableClientMetrics()}, opts...)...)
}

// Subjects is a client of the schema registry.
func (e Endpoints) Subjects() (*sr.Client, error) {
	c, err := sr.NewClient(sr.URLs(e.Registry))
	if err != nil {
		return nil, fmt.Errorf("services: schema registry %q: %w", e.Registry, err)
	}
	return c, nil
}
