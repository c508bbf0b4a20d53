// Package e2e holds tests of whole jobs that need more than one part of the library and compile without the tests of package dataflow.
package e2e
