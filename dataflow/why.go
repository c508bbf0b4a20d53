package dataflow

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strings"

	"github.com/millrace-io/millrace/dataflow/why"
)

// Why tells what keeps a step from giving results. uid is the step's, or its kind and place in the code for a stateless step, as messages name it. It
// walks from the step to what it waits for: downstream for room, upstream for watermarks, barriers and records, and names the cause with
// what to do about it; Report.String is the answer as text. It returns within a second, also when tasks hang, and costs the job nothing
// until it is asked. The error is a *why.UnknownStepError.
func (j *Job) Why(uid string) (why.Report, error) { return j.j.Why(uid) }

// Handler serves what a person asks of a running job over HTTP: GET /why?uid=window is the report of Job.Why on that step, GET /why a page that lists all
// steps with the cause of each. Both are text (the page HTML), or JSON with format=json or when the request accepts only application/json: a
// why.Report, and the whole why.Snapshot. It starts no listener and checks no rights: mount it where the operators of the job may reach it, as in
// http.Handle("/job/", http.StripPrefix("/job", job.Handler())).
func (j *Job) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /why", func(w http.ResponseWriter, r *http.Request) {
		if uid := r.FormValue("uid"); uid != "" {
			j.serveReport(w, r, uid)
			return
		}
		j.serveSteps(w, r)
	})
	return mux
}

func wantsJSON(r *http.Request) bool {
	if f := r.FormValue("format"); f != "" {
		return f == "json"
	}
	accept := r.Header.Get("Accept")
	return strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/html")
}

func (j *Job) serveReport(w http.ResponseWriter, r *http.Request, uid string) {
	report, err := j.Why(uid)
	if unknown := new(why.UnknownStepError); errors.As(err, &unknown) {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	if wantsJSON(r) {
		writeJSON(w, report)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	fmt.Fprint(w, report)
}

// writeJSON writes v whole or an error.
func writeJSON(w http.ResponseWriter, v any) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, "dataflow: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(append(text, '\n')) // the client has gone: nobody is left to tell
}

// stepLine is a line of the page that lists all steps.
type stepLine struct {
	Name, Kind, Cause string
	Healthy           bool
}

var stepsPage = template.Must(template.New("steps").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{.Job}}: why</title>
<style>body{font-family:sans-serif;margin:2em}td{padding:.2em 1em .2em 0;vertical-align:top}.bad{color:#a00}</style></head>
<body><h1>{{.Job}}</h1><p>Why does a step give no results?</p>
<table>{{range .Steps}}<tr><td><a href="?uid={{.Name}}">{{.Name}}</a></td><td{{if not .Healthy}} class="bad"{{end}}>{{.Kind}}</td><td>{{.Cause}}</td></tr>
{{end}}</table></body></html>
`))

// serveSteps lists all steps with the cause of each, from one snapshot.
func (j *Job) serveSteps(w http.ResponseWriter, r *http.Request) {
	s := j.j.Snapshot()
	if wantsJSON(r) {
		writeJSON(w, s)
		return
	}
	page := struct {
		Job   string
		Steps []stepLine
	}{Job: s.Job.Name}
	for _, step := range s.Steps {
		report, err := s.Explain(step.Name)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		page.Steps = append(page.Steps, stepLine{step.Name, string(report.Cause.Kind), report.Cause.String(), report.Healthy()})
	}
	var b bytes.Buffer
	if err := stepsPage.Execute(&b, page); err != nil {
		http.Error(w, "dataflow: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(b.Bytes()) // as in writeJSON
}
