# Rego narrows what Cedar grants: freeze windows and deny lists, kept as data beside this module.
#
# `decision` is the only rule that is asked for. Ids come from the closed lists under `rules` in the data; an id that is
# not on them, or any other shape, denies the call as a policy error. Times are integers, in seconds.
package lockgate

import rego.v1

decision := {"deny": deny, "obligations": obligations}

deny contains "change-freeze" if {
	input.risk > 0
	some window in data.freezes
	window.begins <= input.now
	input.now < window.ends
	frozen(window)
}

deny contains "denied-principal" if {
	some principal in data.denied.principals
	input.principal.id == principal
}

deny contains "denied-resource" if {
	input.risk > 0
	some resource in data.denied.resources
	input.resource.type == resource.type
	input.resource.id == resource.id
}

obligations contains "notify-officers" if input.risk >= 3

frozen(window) if {
	some tool in window.tools
	tool == input.action
}

frozen(window) if {
	some tool in window.tools
	tool == "*"
}
