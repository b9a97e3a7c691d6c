package api

import (
	_ "embed" // openapi.yaml
	"net/http"
	"strconv"
)

// OpenAPI is the OpenAPI 3.1 document of the API.
//
//go:embed openapi.yaml
var openAPI []byte

func (s *Server) openapi(w *response, r *http.Request) error {
	w.Header()["Content-Type"] = []string{"application/yaml"}
	w.Header()["Content-Length"] = []string{strconv.Itoa(len(openAPI))}
	w.WriteHeader(http.StatusOK)
	w.Write(openAPI)
	return nil
}
