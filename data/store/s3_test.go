//go:build s3

package store

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// fakeS3 serves an empty bucket and returns the URL by which it is opened.
func fakeS3(t *testing.T, bucket string) string {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket(bucket); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(server.Close)
	for key, value := range map[string]string{"AWS_ACCESS_KEY_ID": "user", "AWS_SECRET_ACCESS_KEY": "password", "AWS_EC2_METADATA_DISABLED": "true"} {
		t.Setenv(key, value)
	}
	return "?region=us-east-1&s3ForcePathStyle=true&disable_https=true&endpoint=" + server.URL
}

func TestS3(t *testing.T) {
	parameters := fakeS3(t, "pictures")
	s, err := OpenWith(context.Background(), "s3://pictures/some/where"+parameters, Options{CacheDir: t.TempDir(), BlockBytes: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.String() != "s3://pictures/some/where" {
		t.Errorf("called %s", s)
	}
	data := []byte(strings.Repeat("0123456789", 50_000))
	if err := s.Write(context.Background(), "a.bin", func(w io.Writer) error { _, err := w.Write(data); return err }); err != nil {
		t.Fatal(err)
	}
	o := mustOpen(t, s, "a.bin")
	if o.Size() != int64(len(data)) {
		t.Errorf("size %d", o.Size())
	}
	for _, r := range [][2]int{{0, 10}, {99_999, 3}, {250_000, 250_000}, {499_999, 1}, {500_000, 1}} {
		checkRead(t, o, data, r[0], r[1])
	}
	if _, err := s.Open(context.Background(), "gone"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing object: %v", err)
	}
	broken := errors.New("broken")
	if err := s.Write(context.Background(), "half", func(w io.Writer) error { w.Write(data); return broken }); !errors.Is(err, broken) {
		t.Errorf("failed write: %v", err)
	}
	if _, err := s.Open(context.Background(), "half"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a failed write left an object: %v", err)
	}
}
