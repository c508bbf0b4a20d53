//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd)

package checkpoint

import (
	"errors"
	"os"
)

func tryFlock(*os.File) (bool, error) {
	return false, errors.New("not available on this operating system; use checkpoint.S3")
}
