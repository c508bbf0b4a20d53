package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// section is a part of the report: a heading, lines of text, and a table if it has a head.
type section struct {
	title string
	notes []string
	head  []string
	rows  [][]string
}

// words are the heads of columns that hold words: they stand on the left, like the first column.
var words = []string{"side", "runs", "outcome", "status", "why"}

// text renders sections for a terminal.
func text(sections []section) string {
	var b strings.Builder
	for _, s := range sections {
		fmt.Fprintf(&b, "%s\n", strings.ToUpper(s.title))
		for _, n := range s.notes {
			fmt.Fprintf(&b, "%s\n", n)
		}
		widths := make([]int, len(s.head))
		for _, row := range append([][]string{s.head}, s.rows...) {
			for i, c := range row {
				widths[i] = max(widths[i], utf8.RuneCountInString(c))
			}
		}
		for _, row := range append([][]string{s.head}, s.rows...) {
			cells := make([]string, len(row))
			for i, c := range row {
				pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c))
				if cells[i] = pad + c; i == 0 || slices.Contains(words, s.head[i]) {
					cells[i] = c + pad
				}
			}
			if len(row) > 0 {
				fmt.Fprintln(&b, strings.TrimRight(strings.Join(cells, "  "), " "))
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// markdown renders sections for a document.
func markdown(sections []section) string {
	var b strings.Builder
	cells := func(row []string) {
		for _, c := range row {
			fmt.Fprintf(&b, "| %s ", strings.ReplaceAll(c, "|", "\\|"))
		}
		b.WriteString("|\n")
	}
	for _, s := range sections {
		fmt.Fprintf(&b, "### %s\n\n", s.title)
		for _, n := range s.notes {
			fmt.Fprintf(&b, "%s\n", n)
		}
		if len(s.notes) > 0 {
			b.WriteByte('\n')
		}
		if len(s.head) > 0 {
			cells(s.head)
			b.WriteString("|---" + strings.Repeat("|--:", len(s.head)-1) + "|\n")
			for _, r := range s.rows {
				cells(r)
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// none stands where there is no figure.
const none = "–"

// number formats a figure with so many digits after the point.
func number(v float64, digits int) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return none
	}
	return fmt.Sprintf("%.*f", digits, v)
}

// times formats a ratio: two digits below ten.
func times(v float64) string {
	if math.IsNaN(v) {
		return none
	}
	if v < 10 {
		return fmt.Sprintf("%.2f×", v)
	}
	return fmt.Sprintf("%.0f×", v)
}
