-- KEYS: the part, the entry. ARGV: the namespace in its name.
if state and state.namespace ~= ARGV[2] then
    return answer(5)
end
redis.call('UNLINK', KEYS[2])
return answer(0)
