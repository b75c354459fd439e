package export_berth_policy_about

import (
	policy "MODULE"
	about "MODULE/build/berth_policy_about"
)

func Describe() about.Description { return policy.Describe() }
