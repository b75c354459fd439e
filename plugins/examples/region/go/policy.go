// Package policy prefers the region with the lowest value of a column, and keeps a share of the replicas in the second
// best.
package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	about "region-go/build/berth_policy_about"
	fleet "region-go/build/berth_policy_fleet"
	placement "region-go/build/berth_policy_placement"
)

const schema = `{
  "type": "object",
  "properties": {
    "column": {"enum": ["carbon", "latency-ms"], "default": "carbon",
               "description": "Column whose lowest value is best"},
    "share": {"type": "integer", "minimum": 0, "maximum": 100, "default": 20,
              "description": "Per cent of the replicas for the second best region"}
  },
  "additionalProperties": false
}`

func Describe() about.Description {
	return about.Description{
		Name:         "region-go",
		Version:      "0.1.0",
		Kind:         about.KindPlacement,
		ConfigSchema: schema,
		Doc:          "The region with the lowest value of a column, with a share in the second best",
		Needs:        []string{"carbon", "latency-ms"},
	}
}

type Session struct {
	Column  string
	Share   uint64
	regions []string
}

func New(tables fleet.Tables, config string) *Session {
	s := &Session{Column: "carbon", Share: 20, regions: tables.Regions}
	if err := json.Unmarshal([]byte(config), s); err != nil {
		panic(err) // The host has held it against the schema.
	}
	return s
}

func (s *Session) Update(changes fleet.Changes) {
	for _, cluster := range changes.Clusters {
		if int(cluster.Row) == len(s.regions) {
			s.regions = append(s.regions, "")
		}
		s.regions[cluster.Row] = cluster.Region
	}
}

func (s *Session) Place(request placement.Request, candidates placement.Candidates) (placement.Decision, *fleet.Problem) {
	if request.Together || request.Division == 0 {
		return refuse(fleet.ProblemCodeUnsupported, "this policy divides replicas between regions")
	}

	// Candidates with a value: the best region first, within a region the lowest value first.
	var values []float64
	for _, extra := range candidates.Extra {
		if extra.Name == s.Column {
			values = extra.Values
		}
	}
	region := func(row int) string { return s.regions[candidates.Cluster[row]] }
	best, order := map[string]float64{}, []int{}
	for row, value := range values {
		if !math.IsNaN(value) {
			order = append(order, row)
			if lowest, known := best[region(row)]; !known || value < lowest {
				best[region(row)] = value
			}
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(best[region(a)], best[region(b)]), cmp.Compare(region(a), region(b)),
			cmp.Compare(values[a], values[b]))
	})
	if len(order) == 0 {
		return refuse(fleet.ProblemCodeNoCandidate, fmt.Sprintf("no candidate has a value of %s", s.Column))
	}
	first := func(row int) bool { return region(row) == region(order[0]) }
	second := slices.IndexFunc(order, func(row int) bool { return !first(row) })

	count := len(candidates.Cluster)
	decision := placement.Decision{TermNames: []string{s.Column}}
	used := make([]bool, count)
	for component, wanted := range request.Components {
		apart := uint64(0)
		if second >= 0 {
			apart = uint64(wanted.Replicas) * s.Share / 100
		}
		left := uint64(wanted.Replicas)
		got := make([]uint64, count)
		fill := func(part uint64, takes func(row int) bool) {
			part = min(part, left)
			for _, row := range order {
				if takes(row) {
					at := component*count + row
					room := uint64(candidates.Current[at]) + uint64(candidates.Ready[at]) + uint64(candidates.Elastic[at])
					more := min(part, room-got[row])
					got[row], part, left = got[row]+more, part-more, left-more
				}
			}
		}
		// Each region's part, then what did not fit, wherever there is room.
		fill(left-apart, first)
		fill(apart, func(row int) bool { return region(row) == region(order[second]) })
		fill(left, func(int) bool { return true })

		placed := uint64(wanted.Replicas) - left
		if placed < uint64(wanted.Floor) || placed == 0 && wanted.Replicas > 0 {
			return refuse(fleet.ProblemCodeNoRoom,
				fmt.Sprintf("%d of %d replicas of %s fit", placed, wanted.Replicas, wanted.Name))
		}
		for row, replicas := range got {
			if replicas > 0 {
				used[row] = true
				decision.Assignments = append(decision.Assignments, placement.Assignment{
					Component: uint32(component), Candidate: uint32(row), Replicas: uint32(replicas)})
			}
		}
	}
	for row := range used {
		if used[row] {
			decision.Terms = append(decision.Terms, placement.Term{Candidate: uint32(row), Name: 0, Value: values[row]})
		}
	}
	return decision, nil
}

func refuse(code fleet.ProblemCode, message string) (placement.Decision, *fleet.Problem) {
	return placement.Decision{}, &fleet.Problem{Code: code, Message: message}
}
