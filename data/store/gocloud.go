//go:build s3 || gcs || azure

package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path"
	"strings"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"tandem/internal/fault"
)

// openBucket opens scheme://bucket/prefix?parameters through gocloud.dev, whose documentation of each driver lists the
// parameters.
func openBucket(ctx context.Context, location string, o Options) (Store, error) {
	u, err := url.Parse(location)
	if err != nil || u.Host == "" {
		return nil, fault.Userf("%s: want %s://bucket/prefix", location, strings.SplitN(location, "://", 2)[0])
	}
	prefix := strings.Trim(u.Path, "/")
	shown := u.Scheme + "://" + path.Join(u.Host, prefix)
	u.Path = ""
	bucket, err := blob.OpenBucket(ctx, u.String())
	if err != nil {
		return nil, fault.Userf("%s: %w", shown, err)
	}
	if prefix != "" {
		bucket = blob.PrefixedBucket(bucket, prefix+"/")
	}
	return NewRemote(&cloudBucket{bucket, shown}, o)
}

// cloudBucket is a Remote over gocloud.dev.
type cloudBucket struct {
	bucket *blob.Bucket
	name   string
}

func (c *cloudBucket) String() string { return c.name }
func (c *cloudBucket) Close() error   { return c.bucket.Close() }

// plain marks the errors that no patience helps against.
func plain(err error) error {
	switch gcerrors.Code(err) {
	case gcerrors.OK:
		return err
	case gcerrors.NotFound:
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	case gcerrors.PermissionDenied, gcerrors.InvalidArgument, gcerrors.Unimplemented:
		return fmt.Errorf("%w: %w", fs.ErrPermission, err)
	}
	return err
}

func (c *cloudBucket) Stat(ctx context.Context, name string) (Info, error) {
	a, err := c.bucket.Attributes(ctx, name)
	if err != nil {
		return Info{}, plain(err)
	}
	version := a.ETag
	if version == "" {
		version = a.ModTime.UTC().String()
	}
	return Info{a.Size, version}, nil
}

func (c *cloudBucket) ReadAt(ctx context.Context, name string, p []byte, off int64) error {
	r, err := c.bucket.NewRangeReader(ctx, name, off, int64(len(p)), nil)
	if err != nil {
		return plain(err)
	}
	_, err = io.ReadFull(r, p)
	return errors.Join(err, r.Close())
}

func (c *cloudBucket) Write(ctx context.Context, name string, fill func(w io.Writer) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := c.bucket.NewWriter(ctx, name, nil)
	if err != nil {
		return plain(err)
	}
	if err := fill(w); err != nil {
		cancel() // a cancelled writer leaves nothing behind
		return errors.Join(err, ignore(w.Close()))
	}
	return plain(w.Close())
}

// ignore drops the error of closing a writer that was cancelled on purpose.
func ignore(error) error { return nil }
