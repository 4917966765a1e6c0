# Who may do what on this server: whoever holds the token does the gateway's work, and nobody does anything else.
#
# `data.access.token_sha256` is given at start (see `__main__.py`); no request can change it, nor this file.
package system.authz

default allow := false

# Monitoring learns that the server lives, and nothing more.
allow if {
	input.method == "GET"
	input.path == ["health"]
}

allow if {
	crypto.sha256(input.identity) == data.access.token_sha256
	is_work_of_the_gateway
}

# Bundles are given, asked about and forgotten below `lockgate`.
is_work_of_the_gateway if {
	input.method in {"POST", "PUT", "DELETE"}
	input.path[0] == "v1"
	input.path[1] in {"data", "policies"}
	input.path[2] == "lockgate"
}

# The gateway looks at what it talks to before it believes an answer.
is_work_of_the_gateway if {
	input.method == "GET"
	input.path in [["v1", "config"], ["v1", "data", "system", "version"]]
}
