// Package policy leaves clusters that cannot be reached, and clusters that have no node for replicas.
package policy

import (
	about "leave-go/build/berth_policy_about"
	fleet "leave-go/build/berth_policy_fleet"
	migration "leave-go/build/berth_policy_migration"
)

func Describe() about.Description {
	return about.Description{
		Name:    "leave-go",
		Version: "0.1.0",
		Kind:    about.KindMigration,
		Doc:     "Leaves clusters that cannot be reached, or have no node for replicas",
	}
}

type Session struct{}

func New(tables fleet.Tables, config string) *Session { return &Session{} }

func (s *Session) Update(changes fleet.Changes) {}

func (s *Session) Decide(state migration.State) ([]migration.Move, *fleet.Problem) {
	var moves []migration.Move
	leave := func(row int, replicas uint32, how migration.How, reason string) {
		moves = append(moves, migration.Move{Row: uint32(row), Replicas: replicas, How: how, Reason: reason})
	}
	placed, health := state.Placed, state.Health
	for row, cluster := range placed.Cluster {
		workload := state.Workloads[placed.Workload[row]]
		if !health.Reachable[cluster] && health.SinceMs[cluster] >= workload.TolerationMs {
			leave(row, placed.Desired[row], migration.HowAtOnce, "its cluster cannot be reached")
		} else if placed.Unschedulable[row] > 0 && placed.UnreadyMs[row] >= workload.TolerationMs && !workload.Together {
			leave(row, placed.Unschedulable[row], migration.HowGracefully, "no node takes them")
		}
	}
	return moves, nil
}
