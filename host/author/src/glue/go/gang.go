// The policy as the generated bindings see it.

package export_berth_policy_gang

import (
	"runtime"

	policy "MODULE"
	fleet "MODULE/build/berth_policy_fleet"
	gang "MODULE/build/berth_policy_gang"
	"MODULE/build/wit/types"
)

type Session struct {
	handle int32
	pinner runtime.Pinner
	policy *policy.Session
}

func MakeSession(tables fleet.Tables, config string) *Session {
	return &Session{policy: policy.New(tables, config)}
}

func (s *Session) OnDrop() {}

func (s *Session) Update(changes fleet.Changes) { s.policy.Update(changes) }

func (s *Session) Decide(queue gang.Queue) types.Result[gang.Verdict, fleet.Problem] {
	answer, problem := s.policy.Decide(queue)
	return types.Result[gang.Verdict, fleet.Problem]{Answer: answer, Problem: problem}
}
