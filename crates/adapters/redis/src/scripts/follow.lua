-- KEYS: the part, the entries that changed. ARGV: the namespace in their names, what entries begin with, changes, incarnation,
-- from, to.
local namespace, prefix, changes, incarnation, from, to = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
if not state or state.incarnation ~= incarnation or less(state.position, from) or not less(state.position, to) then
    return answer(0)
end
if state.namespace ~= namespace then
    return answer(5)
end
invalidate(prefix, changes)
state.position, dirty = to, true
return answer(0)
