-- KEYS: the part, the entries that changed. ARGV: the namespace in their names, what entries begin with, changes.
if not state then
    return answer(0)
end
if state.namespace ~= ARGV[2] then
    return answer(5)
end
invalidate(ARGV[3], ARGV[4])
return answer(0)
