-- ARGV: the namespace that shall end, or nothing; incarnation; position; how long it is quiet.
local instead_of, incarnation, position, quiet = ARGV[2], ARGV[3], ARGV[4], struct.unpack('>I8', ARGV[5])
if (state and state.namespace or '') == instead_of then
    redis.call('UNLINK', part)
    state = {
        namespace = next_namespace, incarnation = incarnation, position = position, opens = now + quiet,
        era = next_era, server = server, count = 0, first = 0, next = 0, keep = 0,
    }
    dirty = true
end
return answer(0)
