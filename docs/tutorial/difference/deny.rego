# Nothing is refused beyond what Cedar refuses.
package lockgate

decision := {"deny": [], "obligations": []}
