// Package structure holds nothing but tests: they read the source of the whole repository and hold it to the rules that a compiler
// does not check.
//
//   - Imports follow the table in imports_test.go (docs/ARCHITECTURE.md gives the reasons).
//   - Functions have at most 70 lines, Go files at most 1000.
//   - Every exported name is documented: types, functions, methods, interface methods, constants, variables and packages.
//   - Tests never sleep in real time and never skip without a reason.
//   - No file speaks of one particular machine, none carries unfinished work, and all Go files are formatted.
//
// Each rule is a function from a file to findings and has a test of its own that shows it failing.
package structure
