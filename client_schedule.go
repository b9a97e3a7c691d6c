package entropy

import (
	"context"
	"net/url"
)

// ScheduleRequest is the body of the creation of a schedule.
type ScheduleRequest struct {
	Schedule  ScheduleSpec `json:"schedule"`
	Operation Operation    `json:"operation,omitzero"`
}

// ScheduleList is the list of schedules.
type ScheduleList struct {
	Schedules []ScheduleInfo `json:"schedules"`
}

// CreateSchedule implements [Service].
func (c *Client) CreateSchedule(ctx context.Context, spec ScheduleSpec, op Operation) (ScheduleInfo, error) {
	var info ScheduleInfo
	err := c.call(ctx, call{method: "POST", path: "/v1/schedules", body: ScheduleRequest{spec, op}, out: &info, mutates: true, repeatable: true})
	return info, err
}

// Schedules implements [Service].
func (c *Client) Schedules(ctx context.Context) ([]ScheduleInfo, error) {
	var list ScheduleList
	err := c.call(ctx, call{method: "GET", path: "/v1/schedules", out: &list})
	return list.Schedules, err
}

// Schedule implements [Service].
func (c *Client) Schedule(ctx context.Context, name string, next int) (ScheduleInfo, error) {
	var info ScheduleInfo
	q := url.Values{}
	setInt(q, "next", int64(next))
	err := c.call(ctx, call{method: "GET", path: schedulePath(name, ""), query: q, out: &info})
	return info, err
}

// SetSchedule implements [Service].
func (c *Client) SetSchedule(ctx context.Context, name string, mode ScheduleMode, op Operation) (ScheduleInfo, error) {
	var info ScheduleInfo
	err := c.call(ctx, call{method: "POST", path: schedulePath(name, "/"+url.PathEscape(string(mode))), body: op, out: &info, mutates: true, repeatable: op.ID != ""})
	return info, err
}

// FireSchedule implements [Service].
func (c *Client) FireSchedule(ctx context.Context, name string, op Operation) (SubmitResult, error) {
	var result SubmitResult
	err := c.call(ctx, call{method: "POST", path: schedulePath(name, "/fire"), body: op, out: &result, mutates: true, repeatable: op.ID != ""})
	return result, err
}

func schedulePath(name, rest string) string { return "/v1/schedules/" + url.PathEscape(name) + rest }
