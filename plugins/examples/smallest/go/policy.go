// Package policy starts the smallest job first, and a higher priority before that.
package policy

import (
	"cmp"
	"slices"

	about "smallest-go/build/berth_policy_about"
	fleet "smallest-go/build/berth_policy_fleet"
	gang "smallest-go/build/berth_policy_gang"
)

func Describe() about.Description {
	return about.Description{
		Name:    "smallest-go",
		Version: "0.1.0",
		Kind:    about.KindGang,
		Doc:     "Starts the smallest job first, and a higher priority before that",
	}
}

type Session struct{}

func New(tables fleet.Tables, config string) *Session { return &Session{} }

func (s *Session) Update(changes fleet.Changes) {}

func (s *Session) Decide(queue gang.Queue) (gang.Verdict, *fleet.Problem) {
	sizes := func(job int) (sizes []uint32, total uint64) {
		for _, component := range queue.Jobs[job].Components {
			sizes, total = append(sizes, component.Replicas), total+uint64(component.Replicas)
		}
		return
	}
	fits := func(job int, sets []uint32) bool {
		for at, row := range queue.Fits.Job {
			if int(row) == job && sets[at] > 0 {
				return true
			}
		}
		return false
	}
	order := make([]int, len(queue.Jobs))
	for job := range order {
		order[job] = job
	}
	slices.SortStableFunc(order, func(a, b int) int {
		_, one := sizes(a)
		_, other := sizes(b)
		return cmp.Or(cmp.Compare(queue.Jobs[b].Priority, queue.Jobs[a].Priority), cmp.Compare(one, other))
	})

	var verdict gang.Verdict
	for _, job := range order {
		hold := func(code gang.HoldCode, reason string) {
			verdict.Hold = append(verdict.Hold, gang.Hold{Job: uint32(job), Code: code, Reason: reason})
		}
		if queue.Jobs[job].Together && !fits(job, queue.Fits.Empty) {
			hold(gang.HoldCodeTooLarge, "no cluster is large enough")
		} else if queue.Jobs[job].Together && !fits(job, queue.Fits.Now) {
			hold(gang.HoldCodeNoRoom, "no cluster has room for all of it now")
		} else {
			whole, _ := sizes(job)
			verdict.Admit = append(verdict.Admit, gang.Admit{Job: uint32(job), Sizes: whole})
		}
	}
	return verdict, nil
}
