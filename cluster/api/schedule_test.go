package api_test

import (
	"context"
	"testing"

	"github.com/entropy-fabric/entropy"
)

func (r *recorder) CreateSchedule(_ context.Context, s entropy.ScheduleSpec, op entropy.Operation) (out entropy.ScheduleInfo, err error) {
	r.call(&out, s, op)
	return out, nil
}

func (r *recorder) Schedules(context.Context) (out []entropy.ScheduleInfo, err error) {
	r.call(&out)
	return out, nil
}

func (r *recorder) Schedule(_ context.Context, name string, next int) (out entropy.ScheduleInfo, err error) {
	r.call(&out, name, next)
	return out, nil
}

func (r *recorder) SetSchedule(_ context.Context, name string, mode entropy.ScheduleMode, op entropy.Operation) (out entropy.ScheduleInfo, err error) {
	r.call(&out, name, mode, op)
	return out, nil
}

func (r *recorder) FireSchedule(_ context.Context, name string, op entropy.Operation) (out entropy.SubmitResult, err error) {
	r.call(&out, name, op)
	return out, nil
}

// proves I-3, J-10: every method about schedules carries every field there and back
func TestScheduleServiceCarriesEveryField(t *testing.T) {
	c := newTrip(t)
	check, answer, ctx := c.check, c.answer, t.Context()
	s := c.w.adminClient()
	op := entropy.Operation{ID: "op-1", Reason: "because"}

	spec := filled[entropy.ScheduleSpec]()
	info, err := s.CreateSchedule(ctx, spec, op)
	check("CreateSchedule", err, info, answer(new(entropy.ScheduleInfo)), spec, op)
	all, err := s.Schedules(ctx)
	check("Schedules", err, all, answer(new([]entropy.ScheduleInfo)))
	info, err = s.Schedule(ctx, "s-1", 7)
	check("Schedule", err, info, answer(new(entropy.ScheduleInfo)), "s-1", 7)
	for _, mode := range []entropy.ScheduleMode{entropy.SchedulePause, entropy.ScheduleResume, entropy.ScheduleDelete} {
		info, err = s.SetSchedule(ctx, "s-1", mode, op)
		check("SetSchedule", err, info, answer(new(entropy.ScheduleInfo)), "s-1", mode, op)
	}
	fired, err := s.FireSchedule(ctx, "s-1", op)
	check("FireSchedule", err, fired, answer(new(entropy.SubmitResult)), "s-1", op)
}

// proves I-3 (bad input): what is wrong with a request about schedules is named
func TestBadScheduleRequests(t *testing.T) {
	w, _ := memoryWorld(t)
	for _, q := range []struct {
		method, path, body string
		status             int
		text               string
	}{
		{"POST", "/v1/schedules", `{"schedule": {"name": "s", "cron": "0 0 30 2 *", "job": {"command": ["true"]}}}`, 400, "never fires"},
		{"POST", "/v1/schedules", `{"schedule": {"name": "s", "cronn": "@daily"}}`, 400, "schedule.cronn"},
		{"POST", "/v1/schedules", `{"schedule": {"name": "s", "cron": "@daily", "job": {"command": ["true"]}}, "operation": {"operation_id": "no/slash"}}`, 400, "operation_id"},
		{"GET", "/v1/schedules?x=1", "", 400, "no parameter"},
		{"GET", "/v1/schedules/s?next=-1", "", 400, "next"},
		{"GET", "/v1/schedules/s?next=1001", "", 400, "next"},
		{"GET", "/v1/schedules/s", "", 404, "s"},
		{"GET", "/v1/schedules/-s", "", 400, "schedule name"},
		{"POST", "/v1/schedules/s/explode", "{}", 404, "use pause, resume or delete"},
		{"POST", "/v1/schedules/s/pause", "{}", 404, "s"},
		{"POST", "/v1/schedules/-s/fire", "{}", 400, "schedule name"},
		{"POST", "/v1/schedules/s/fire", `{"operation_id": 7}`, 400, "operation_id"},
	} {
		w.want(request{method: q.method, path: q.path, body: q.body, token: w.admin}, q.status, q.text)
	}
}
