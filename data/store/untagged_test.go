//go:build !s3

package store

import (
	"context"
	"strings"
	"testing"

	"tandem/internal/fault"
)

func TestMissingDriverNamesItsTag(t *testing.T) {
	_, err := Open(context.Background(), "s3://bucket/x")
	if err == nil || !fault.IsUser(err) || !strings.Contains(err.Error(), "built without s3:// support: build it with `-tags s3`") {
		t.Errorf("error %v", err)
	}
}
