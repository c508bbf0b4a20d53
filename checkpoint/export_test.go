package checkpoint

import (
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// S3Over is S3 with the client that S3 makes itself, over another transport.
func S3Over(o S3Options, transport s3.HTTPClient) Storage {
	o.Client = s3Storage{o}.client(credentials.NewStaticCredentialsProvider("id", "secret", ""), transport)
	return S3(o)
}
