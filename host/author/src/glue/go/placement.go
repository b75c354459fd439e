// The policy as the generated bindings see it.

package export_berth_policy_placement

import (
	"runtime"

	policy "MODULE"
	fleet "MODULE/build/berth_policy_fleet"
	placement "MODULE/build/berth_policy_placement"
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

func (s *Session) Place(request placement.Request, candidates placement.Candidates) types.Result[placement.Decision, fleet.Problem] {
	answer, problem := s.policy.Place(request, candidates)
	return types.Result[placement.Decision, fleet.Problem]{Answer: answer, Problem: problem}
}
