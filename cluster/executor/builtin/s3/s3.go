// Package s3 executes s3_put, s3_copy and s3_presence against any server that
// speaks the S3 API, within the buckets and prefixes that the settings allow.
//
// The client is minio-go: of the ones that are kept it needs the fewest modules
// beside the standard library, and it knows regions, path style, signatures and
// the copying of objects of more than 5 GiB in parts.
package s3

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/executor"
	"github.com/entropy-fabric/entropy/cluster/executor/builtin"
)

// Config says where the server is and what may be touched.
type Config struct {
	Endpoint  string            `json:"endpoint"` // as in https://s3.eu-central-1.amazonaws.com
	Region    string            `json:"region"`   // "" means us-east-1
	PathStyle bool              `json:"path_style"`
	AccessKey builtin.Secret    `json:"access_key"`
	SecretKey builtin.Secret    `json:"secret_key"`
	Session   builtin.Secret    `json:"session_token"` // optional
	Buckets   map[string]Bucket `json:"buckets"`
	Timeout   entropy.Duration  `json:"timeout"` // of a command; 0 means 5 min
}

// Bucket is what may be done with a bucket.
type Bucket struct {
	Write    bool     `json:"write"`    // put and copy into it
	Prefixes []string `json:"prefixes"` // of keys; empty means all
}

const (
	actionHeader = "Entropy-Action-Id" // user metadata of what was put and copied
	maxKey       = 1024
)

type store struct {
	Config
	transport http.RoundTripper
}

// Register gives the commands to an executor.
func Register(to executor.Registry, conf Config) error {
	if conf.Region == "" {
		conf.Region = "us-east-1"
	}
	if conf.Timeout == 0 {
		conf.Timeout = entropy.Duration(5 * time.Minute)
	}
	u, err := url.Parse(conf.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.Trim(u.Path, "/") != "" || u.User != nil {
		err = errors.New("s3: the endpoint is a URL of a scheme and a host, as in https://s3.example.com")
	}
	errs := []error{err}
	for name, s := range map[string]builtin.Secret{"access_key": conf.AccessKey, "secret_key": conf.SecretKey} {
		if err := s.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("s3: %s: %w", name, err))
		}
	}
	if conf.Session != "" {
		errs = append(errs, conf.Session.Validate())
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	s := &store{conf, builtin.NewClient(true).Transport} // the endpoint is a setting, so it may be private
	for command, fn := range map[string]func(context.Context, *executor.Task, *minio.Client) (any, error){
		"s3_put": s.put, "s3_copy": s.copy, "s3_presence": s.presence} {
		to.Handle(command, func(ctx context.Context, t *executor.Task) (any, error) {
			ctx, done := context.WithTimeout(ctx, time.Duration(s.Timeout))
			defer done()
			client, err := s.client()
			if err != nil {
				return nil, err
			}
			return fn(ctx, t, client)
		}, executor.DryRun())
	}
	return nil
}

// client makes one for each command, so that replaced secrets are used.
func (s *store) client() (*minio.Client, error) {
	var id, key, session string
	var err error
	if id, err = s.AccessKey.Read(); err == nil {
		key, err = s.SecretKey.Read()
	}
	if err == nil && s.Session != "" {
		session, err = s.Session.Read()
	}
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(s.Endpoint)
	if err != nil {
		return nil, err
	}
	style := minio.BucketLookupAuto
	if s.PathStyle {
		style = minio.BucketLookupPath
	}
	return minio.New(u.Host, &minio.Options{Creds: credentials.NewStaticV4(id, key, session), Secure: u.Scheme == "https",
		Region: s.Region, BucketLookup: style, Transport: s.transport, MaxRetries: 3})
}

// object is one that an action names.
type object struct {
	Bucket string `json:"bucket"`
	Key    string `json:"key"`
}

func (o object) String() string { return o.Bucket + "/" + o.Key }

func (s *store) allowed(o object, write bool) error {
	b, ok := s.Buckets[o.Bucket]
	switch {
	case o.Bucket == "" || o.Key == "":
		return executor.Invalidf("bucket or key is missing")
	case len(o.Key) > maxKey:
		return executor.Invalidf("the key has %d bytes, at most %d are allowed", len(o.Key), maxKey)
	case !ok:
		return builtin.NotAllowedf("the bucket %q is not among those that may be used", o.Bucket)
	case write && !b.Write:
		return builtin.NotAllowedf("the bucket %s may only be read", o.Bucket)
	case strings.Contains("/"+o.Key+"/", "/../"):
		return builtin.NotAllowedf("the key has a .. in it")
	}
	if len(b.Prefixes) == 0 {
		return nil
	}
	for _, p := range b.Prefixes {
		if strings.HasPrefix(o.Key, p) {
			return nil
		}
	}
	return builtin.NotAllowedf("the key is below none of the prefixes of %s that may be used", o.Bucket)
}

// ours looks whether this action has written an object already.
func ours(ctx context.Context, c *minio.Client, o object, t *executor.Task) (minio.ObjectInfo, bool, error) {
	info, err := c.StatObject(ctx, o.Bucket, o.Key, minio.StatObjectOptions{})
	if err != nil {
		if minio.ToErrorResponse(err).StatusCode == http.StatusNotFound {
			err = nil
		}
		return info, false, failure("look at "+o.String(), err)
	}
	return info, info.UserMetadata[actionHeader] == t.ActionID(), nil
}

// put writes an object from its arguments, once per action.
func (s *store) put(ctx context.Context, t *executor.Task, c *minio.Client) (any, error) {
	var args struct {
		object
		Text        string `json:"text"`
		Base64      string `json:"base64"`
		ContentType string `json:"content_type"`
	}
	if err := t.Args(&args); err != nil {
		return nil, err
	}
	if err := s.allowed(args.object, true); err != nil {
		return nil, err
	}
	content := []byte(args.Text)
	if args.Base64 != "" {
		var err error
		if content, err = base64.StdEncoding.DecodeString(args.Base64); err != nil || args.Text != "" {
			return nil, executor.Invalidf("give the content as text, or in base64")
		}
	}
	if t.DryRun() {
		return map[string]any{"would": "put", "bucket": args.Bucket, "key": args.Key, "size": len(content)}, nil
	}
	if info, done, err := ours(ctx, c, args.object, t); err != nil || done {
		return map[string]any{"bucket": args.Bucket, "key": args.Key, "size": info.Size, "etag": info.ETag, "repeated": true}, err
	}
	info, err := c.PutObject(ctx, args.Bucket, args.Key, bytes.NewReader(content), int64(len(content)),
		minio.PutObjectOptions{ContentType: args.ContentType, UserMetadata: map[string]string{actionHeader: t.ActionID()}})
	if err != nil {
		return nil, failure("put "+args.String(), err)
	}
	return map[string]any{"bucket": args.Bucket, "key": args.Key, "size": len(content), "etag": info.ETag}, nil
}

// copy copies an object at the server, once per action.
func (s *store) copy(ctx context.Context, t *executor.Task, c *minio.Client) (any, error) {
	var args struct {
		From object `json:"from"`
		To   object `json:"to"`
	}
	if err := t.Args(&args); err != nil {
		return nil, err
	}
	if err := s.allowed(args.From, false); err != nil {
		return nil, fmt.Errorf("from: %w", err)
	}
	if err := s.allowed(args.To, true); err != nil {
		return nil, fmt.Errorf("to: %w", err)
	}
	from, err := c.StatObject(ctx, args.From.Bucket, args.From.Key, minio.StatObjectOptions{})
	if err != nil {
		return nil, failure("look at "+args.From.String(), err)
	}
	if t.DryRun() {
		return map[string]any{"would": "copy", "from": args.From, "to": args.To, "size": from.Size}, nil
	}
	if info, done, err := ours(ctx, c, args.To, t); err != nil || done {
		return map[string]any{"bucket": args.To.Bucket, "key": args.To.Key, "size": info.Size, "etag": info.ETag, "repeated": true}, err
	}
	meta := map[string]string{actionHeader: t.ActionID(), "Content-Type": from.ContentType}
	for k, v := range from.UserMetadata {
		if k != actionHeader {
			meta[k] = v
		}
	}
	info, err := c.ComposeObject(ctx, // one request below 5 GiB, else parts
		minio.CopyDestOptions{Bucket: args.To.Bucket, Object: args.To.Key, ReplaceMetadata: true, UserMetadata: meta},
		minio.CopySrcOptions{Bucket: args.From.Bucket, Object: args.From.Key, MatchETag: from.ETag})
	if err != nil {
		return nil, failure("copy "+args.From.String(), err)
	}
	return map[string]any{"bucket": args.To.Bucket, "key": args.To.Key, "size": from.Size, "etag": info.ETag}, nil
}

// presence says whether an object is there. With require, its absence, or fewer
// bytes than asked for, is a failure that another attempt may not meet.
func (s *store) presence(ctx context.Context, t *executor.Task, c *minio.Client) (any, error) {
	var args struct {
		object
		Require bool  `json:"require"`
		MinSize int64 `json:"min_size"`
	}
	if err := t.Args(&args); err != nil {
		return nil, err
	}
	if err := s.allowed(args.object, false); err != nil {
		return nil, err
	}
	info, err := c.StatObject(ctx, args.Bucket, args.Key, minio.StatObjectOptions{})
	missing := err != nil && minio.ToErrorResponse(err).StatusCode == http.StatusNotFound
	switch {
	case missing && args.Require:
		return nil, executor.OfKind(fmt.Errorf("%s is not there", args.object), builtin.KindNotFound)
	case missing:
		return map[string]any{"bucket": args.Bucket, "key": args.Key, "present": false}, nil
	case err != nil:
		return nil, failure("look at "+args.String(), err)
	case args.Require && info.Size < args.MinSize:
		return nil, executor.OfKind(fmt.Errorf("%s has %d bytes, at least %d are needed", args.object, info.Size, args.MinSize), builtin.KindNotFound)
	}
	return map[string]any{"bucket": args.Bucket, "key": args.Key, "present": info.Size >= args.MinSize, "size": info.Size, "etag": info.ETag,
		"modified": info.LastModified.UTC()}, nil
}

// failure reads what an error of S3 means for another attempt. Everything here is
// idempotent, so an unknown outcome is only unavailability.
func failure(what string, err error) error {
	if err == nil {
		return nil
	}
	res := minio.ToErrorResponse(err)
	wrapped := fmt.Errorf("%s: %w", what, err)
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return wrapped
	case res.StatusCode == http.StatusNotFound:
		return executor.Final(wrapped, builtin.KindNotFound)
	case res.StatusCode == http.StatusForbidden:
		return executor.Final(wrapped, builtin.KindForbidden)
	case res.StatusCode == http.StatusUnauthorized:
		return executor.Final(wrapped, builtin.KindUnauthorized)
	case res.StatusCode == http.StatusPreconditionFailed, res.StatusCode == http.StatusConflict:
		return executor.OfKind(wrapped, builtin.KindConflict)
	case res.StatusCode == http.StatusTooManyRequests:
		return executor.OfKind(wrapped, builtin.KindOverloaded)
	case res.StatusCode >= 400 && res.StatusCode < 500:
		return executor.Final(wrapped, executor.KindInvalid)
	}
	return executor.OfKind(wrapped, builtin.KindUnavailable)
}
