package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
)

// serveFunction answers POST requests on $PORT (8080) under the Functions
// Framework until ctx ends, then lets the requests in hand finish. Who may call
// is the platform's affair: deploy it without unauthenticated access.
//
// LOCAL_ONLY=true binds to loopback only, as the framework's own examples do.
func serveFunction(ctx context.Context, name string, h Handler) int {
	return frame(ctx, name, func(w http.ResponseWriter, r *http.Request) { answer(ctx, w, r, h) })
}

// answer runs h for one request.
func answer(ctx context.Context, w http.ResponseWriter, r *http.Request, h Handler) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		refuse(w, http.StatusMethodNotAllowed, errors.New("only POST is answered: the function acts"))
		return
	}
	in, err := readInput(http.MaxBytesReader(w, r.Body, maxInput))
	if err != nil {
		refuse(w, http.StatusBadRequest, fmt.Errorf("read the request's body: %w", err))
		return
	}
	// The work ends with the request, and with the process.
	reqCtx, cancel := context.WithCancel(context.WithValue(r.Context(), requestKey{}, r.Header.Get("X-Cloud-Trace-Context")))
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	out, err := h(reqCtx, in)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err)
		return
	}
	body, err := json.Marshal(out)
	if err != nil {
		refuse(w, http.StatusInternalServerError, fmt.Errorf("encode the output: %w", err))
		return
	}
	reply(w, http.StatusOK, body)
}

func refuse(w http.ResponseWriter, status int, err error) {
	if status != http.StatusInternalServerError { // of that the call's own log tells
		deployedOn().logger().Warn("refused", "status", status, "error", err)
	}
	body, _ := json.Marshal(map[string]string{"error": err.Error()}) // a map of strings always encodes
	reply(w, status, body)
}

// reply sends the whole answer before it returns: the process may end right after.
// An error means that the caller is gone, and there is nobody to tell.
func reply(w http.ResponseWriter, status int, body []byte) {
	body = append(body, '\n')
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
	_ = http.NewResponseController(w).Flush()
}
