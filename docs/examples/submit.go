// Submit a job and wait for its result: Go, standard library only (go run submit.go).
//
// BACKROOM_URL (http://127.0.0.1:8000) and, where the stack has keys, BACKROOM_KEY.
package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"time"
)

var base = envOr("BACKROOM_URL", "http://127.0.0.1:8000")

type Job struct {
	ID     string          `json:"id"`
	State  string          `json:"state"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
}

func envOr(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

// call sends a request; once more if the connection fails or the stack says "later" (429, 502, 503).
func call(method, path string, headers map[string]string, body []byte) (Job, error) {
	client := &http.Client{Timeout: time.Minute}
	for left := 4; ; left-- {
		request, err := http.NewRequest(method, base+path, bytes.NewReader(body))
		if err != nil {
			return Job{}, err
		}
		for name, value := range headers {
			request.Header.Set(name, value)
		}
		if body != nil {
			request.Header.Set("Content-Type", "application/json")
		}
		if key := os.Getenv("BACKROOM_KEY"); key != "" {
			request.Header.Set("Authorization", "Bearer "+key)
		}
		pause := time.Second
		response, err := client.Do(request)
		if err == nil {
			text, readErr := io.ReadAll(response.Body)
			response.Body.Close()
			switch {
			case readErr != nil:
				err = readErr
			case response.StatusCode < 300:
				var job Job
				return job, json.Unmarshal(text, &job)
			default: // problem+json says what is wrong, and where
				err = fmt.Errorf("%d: %s", response.StatusCode, text)
				if response.StatusCode != 429 && response.StatusCode != 502 && response.StatusCode != 503 {
					return Job{}, err
				}
				if seconds, parseErr := strconv.Atoi(response.Header.Get("Retry-After")); parseErr == nil {
					pause = time.Duration(seconds) * time.Second
				}
			}
		}
		if left == 0 {
			return Job{}, err
		}
		time.Sleep(pause)
	}
}

func finished(state string) bool {
	return state == "completed" || state == "failed" || state == "cancelled" || state == "expired"
}

func main() {
	body, err := json.Marshal(map[string]any{
		"name":    "heavy-task",
		"data":    map[string]any{"userId": "u1", "payload": map[string]any{"rounds": 50}},
		"options": map[string]any{"attempts": 3, "backoff": map[string]any{"type": "exponential", "delay": 1000}},
	})
	if err != nil {
		log.Fatal(err)
	}

	// The key makes the repeat safe: however often this request arrives, it is one job.
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		log.Fatal(err)
	}
	job, err := call("POST", "/v1/jobs", map[string]string{"Idempotency-Key": fmt.Sprintf("%x", random)}, body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprintln(os.Stderr, "submitted", job.ID)

	// Long polling: each request is held until the job has finished, for 30 seconds at most.
	for !finished(job.State) {
		if job, err = call("GET", "/v1/jobs/"+job.ID, map[string]string{"Prefer": "wait=30"}, nil); err != nil {
			log.Fatal(err)
		}
	}

	if job.State != "completed" {
		log.Fatalf("%s is %s: %s", job.ID, job.State, job.Error)
	}
	fmt.Println(string(job.Result))
}
