-- KEYS: the part, the entry. ARGV: the ticket's namespace, era and time; whose it is, as the first bytes of the entry say; the
-- version; whether it is fresh; for how many milliseconds; the entry, or nothing if it has too many bytes.
local era, at, expires_in = struct.unpack('>I4I8I8', ARGV[3])
local signature, version, fresh, entry = ARGV[4], ARGV[5], ARGV[6] == '1', ARGV[7]
local id = string.sub(signature, 6, 21)
local valid = state and state.namespace == ARGV[2] and state.era == era and state.opens <= at and at <= now
    and now - at <= load_span
if not valid then
    return answer(3)
end
local floor = floor_of(id)
local held = version_of(KEYS[2], signature)
if (floor and less(version, floor)) or (held and less(version, held)) then
    return answer(2)
end
if fresh and not raise(id, version) then
    overflow()
    return answer(3)
end
if entry == '' then
    redis.call('UNLINK', KEYS[2])
    return answer(4)
end
redis.call('SET', KEYS[2], entry, 'PX', expires_in)
return answer(1)
