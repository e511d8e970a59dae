// A registry over TLS: it serves one OCI layout, under the names that its index tells at that time, and beside it
// whatever is pushed, for as long as it runs.
//
// A suite that pulls ghcr.io/containerd/busybox:1.36 gets the image of the layout whose annotation
// org.opencontainers.image.ref.name is that name, once the suite's resolver believes that ghcr.io is here
// (/etc/hosts) and trusts the certificate that is written to -certificate (SSL_CERT_FILE). A containerd that has
// it as a mirror says in the query whose mirror it is (ns=ghcr.io).
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	pushed "github.com/google/go-containerregistry/pkg/registry"
)

const refName = "org.opencontainers.image.ref.name"

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Annotations map[string]string `json:"annotations"`
}

type registry struct {
	layout string
	// Takes and has what the layout has not.
	pushed http.Handler
}

var (
	manifest = regexp.MustCompile(`^/v2/(.+)/manifests/([^/]+)$`)
	blob     = regexp.MustCompile(`^/v2/(.+)/blobs/(sha256:[0-9a-f]{64})$`)
	digest   = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

func main() {
	layout := flag.String("layout", "", "folder with an OCI layout")
	hosts := flag.String("hosts", "localhost", "names and addresses to answer to, with commas between")
	listen := flag.String("listen", "127.0.0.1:443", "address")
	certificate := flag.String("certificate", "", "file to write our certificate to")
	flag.Parse()

	_, err := readTags(*layout)
	exitOn(err)
	pair, err := selfSigned(strings.Split(*hosts, ","), *certificate)
	exitOn(err)
	listener, err := tls.Listen("tcp", *listen, &tls.Config{Certificates: []tls.Certificate{pair}})
	exitOn(err)
	fmt.Println("ready")
	exitOn(http.Serve(listener, &registry{*layout, pushed.New()}))
}

func exitOn(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func readTags(layout string) (map[string]descriptor, error) {
	text, err := os.ReadFile(filepath.Join(layout, "index.json"))
	if err != nil {
		return nil, err
	}
	var index struct{ Manifests []descriptor }
	if err := json.Unmarshal(text, &index); err != nil {
		return nil, err
	}
	tags := map[string]descriptor{}
	for _, one := range index.Manifests {
		tags[one.Annotations[refName]] = one
	}
	return tags, nil
}

// One certificate that is its own authority: nobody but the suite ever trusts it.
func selfSigned(hosts []string, file string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	names, addresses := []string{}, []net.IP{net.IPv4(127, 0, 0, 1)}
	for _, host := range hosts {
		if address := net.ParseIP(host); address != nil {
			addresses = append(addresses, address)
		} else {
			names = append(names, host)
		}
	}
	now := time.Now()
	template := x509.Certificate{
		SerialNumber:          big.NewInt(now.UnixNano()),
		Subject:               pkix.Name{CommonName: "registry of a test"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(24 * time.Hour),
		DNSNames:              names,
		IPAddresses:           addresses,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

func (r *registry) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if request.Method == http.MethodGet || request.Method == http.MethodHead {
		if mediaType, digest, ok := r.find(request); ok && r.blob(w, request, mediaType, digest) {
			return
		}
	}
	r.pushed.ServeHTTP(w, request)
}

// What of the layout is asked for.
func (r *registry) find(request *http.Request) (mediaType, name string, ok bool) {
	path := request.URL.Path
	if found := blob.FindStringSubmatch(path); found != nil {
		return "application/octet-stream", found[2], true
	}
	found := manifest.FindStringSubmatch(path)
	if found == nil {
		return "", "", false
	}
	repository, reference := found[1], found[2]
	if digest.MatchString(reference) {
		return r.mediaType(reference), reference, true
	}
	host := request.URL.Query().Get("ns")
	if host == "" {
		host = request.Host
	}
	tags, err := readTags(r.layout)
	if err != nil {
		log.Print(err)
	}
	one, ok := tags[host+"/"+repository+":"+reference]
	return one.MediaType, one.Digest, ok
}

// What a document says of itself: clients believe the header before they have read the document.
func (r *registry) mediaType(digest string) string {
	var document descriptor
	text, err := os.ReadFile(r.path(digest))
	if err == nil {
		err = json.Unmarshal(text, &document)
	}
	if err != nil {
		return "application/octet-stream"
	}
	return document.MediaType
}

func (r *registry) blob(w http.ResponseWriter, request *http.Request, mediaType, digest string) bool {
	file, err := os.Open(r.path(digest))
	if err != nil {
		return false
	}
	defer file.Close()
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Docker-Content-Digest", digest)
	http.ServeContent(w, request, "", time.Time{}, file)
	return true
}

func (r *registry) path(digest string) string {
	return filepath.Join(r.layout, "blobs", "sha256", strings.TrimPrefix(digest, "sha256:"))
}
