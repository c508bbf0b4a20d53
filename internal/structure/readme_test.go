package structure

import (
	"strings"
	"testing"
)

// TestReadmeShowsTheFirstExample: the program in the README is the one that compiles and runs.
func TestReadmeShowsTheFirstExample(t *testing.T) {
	var readme, program string
	for _, f := range repo(t) {
		switch f.path {
		case "README.md":
			readme = string(f.src)
		case "examples/first/main.go":
			program = string(f.src)
		}
	}
	if program == "" || !strings.Contains(readme, "```go\n"+program+"```") {
		t.Error("README.md does not show examples/first/main.go as it is")
	}
}
