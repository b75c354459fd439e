// The program is the policy as a component.
package main

import _ "MODULE/build/wit_exports"

func main() {}
