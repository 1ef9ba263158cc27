-- The beginning of every script. KEYS[1] is the state of a part, one hash, so that eviction and an old dump take all of it or none:
--   h     namespace, incarnation, position, from when on tickets are given, era, the server that wrote it last
--   m     of floors: how many, the first turn and the next, until when none ends
--   f<id> a floor: version, until when, its turn
--   q<n>  whose floor's turn it is: every floor lasts equally long, so what ends first has the lowest number
-- ARGV[1] holds a namespace and an era to begin with, the spans, and the bound of floors. Times are microseconds by TIME.
local part = KEYS[1]
local next_namespace, next_era, load_span, lag_span, bound = struct.unpack('>c16I4I8I8I8', ARGV[1])
local floor_span = load_span + lag_span
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local server = string.sub(string.match(redis.call('INFO', 'server'), 'run_id:(%w+)'), 1, 16)

local state, dirty, overflowed = nil, false, 0
do
    local found = redis.pcall('HMGET', part, 'h', 'm')
    if found.err or not found[1] or #found[1] ~= 68 or not found[2] or #found[2] ~= 32 then
        redis.call('UNLINK', part)
    else
        state = {}
        state.namespace, state.incarnation, state.position, state.opens, state.era, state.server =
            struct.unpack('>c16c16c8I8I4c16', found[1])
        state.count, state.first, state.next, state.keep = struct.unpack('>I8I8I8I8', found[2])
        -- Another server, after a failover or a restart: its clock is another. Tickets of before are void, and no floor ends
        -- before its longest time has passed by this clock.
        if state.server ~= server then
            state.server, state.era, state.keep, dirty = server, next_era, now + floor_span, true
        end
    end
end

local function head()
    return struct.pack('>c16c16c8I8I4c16', state.namespace, state.incarnation, state.position, state.opens, state.era,
        state.server)
end

local function answer(outcome)
    if not state then
        return { outcome, false, now, overflowed }
    end
    if dirty then
        redis.call('HSET', part, 'h', head(), 'm',
            struct.pack('>I8I8I8I8', state.count, state.first, state.next, state.keep))
    end
    return { outcome, head(), now, overflowed }
end

-- Of numbers as eight bytes, which Lua's own can't hold exactly.
local function less(a, b)
    local a_high, a_low = struct.unpack('>I4I4', a)
    local b_high, b_low = struct.unpack('>I4I4', b)
    return a_high < b_high or (a_high == b_high and a_low < b_low)
end

-- Forgets floors whose time is over, in so many steps at most.
local function prune(steps)
    while steps > 0 and state.first < state.next do
        local turn = 'q' .. state.first
        local id = redis.call('HGET', part, turn)
        if id then
            local floor = redis.call('HGET', part, 'f' .. id)
            if floor then
                local _, ends = struct.unpack('>c8I8', floor)
                if now < ends or now < state.keep then
                    return
                end
                state.count = state.count - 1
            end
            redis.call('HDEL', part, turn, 'f' .. id)
        end
        state.first, steps, dirty = state.first + 1, steps - 1, true
    end
end

local function floor_of(id)
    local floor = redis.call('HGET', part, 'f' .. id)
    if floor then
        local version, ends = struct.unpack('>c8I8', floor)
        if now < ends or now < state.keep then
            return version
        end
    end
end

-- Never lowers one. False if there is no room for one more.
local function raise(id, version)
    prune(4)
    local ends = now + floor_span
    local floor = redis.call('HGET', part, 'f' .. id)
    if floor then
        local held, until_then, turn = struct.unpack('>c8I8I8', floor)
        if less(version, held) then
            version = held
        end
        ends = math.max(ends, until_then)
        redis.call('HDEL', part, 'q' .. turn)
    else
        if state.count >= bound then
            prune(1000)
            if state.count >= bound then
                return false
            end
        end
        state.count = state.count + 1
    end
    redis.call('HSET', part, 'f' .. id, struct.pack('>c8I8I8', version, ends, state.next), 'q' .. state.next, id)
    state.next, dirty = state.next + 1, true
    return true
end

-- One floor too many: a new namespace, in which nothing is to be found, and quiet.
local function overflow()
    redis.call('UNLINK', part)
    state.namespace, state.opens = next_namespace, math.max(state.opens, now + lag_span)
    state.count, state.first, state.next, state.keep = 0, 0, 0, 0
    dirty, overflowed = true, 1
end

-- The version of an entry, if it is what its key says it is: the first bytes tell.
local function version_of(key, signature)
    local start = redis.pcall('GETRANGE', key, 0, 44)
    if type(start) == 'string' and #start == 45 and string.sub(start, 1, 37) == signature then
        return string.sub(start, 38, 45)
    end
end

-- Changes are 40 bytes each: whose, and the version. Entries follow the part in KEYS.
local function invalidate(prefix, changes)
    for number = 1, #KEYS - 1 do
        local digest, version = struct.unpack('>c32c8', changes, (number - 1) * 40 + 1)
        if not raise(string.sub(digest, 1, 16), version) then
            return overflow()
        end
        local held = version_of(KEYS[number + 1], prefix .. digest)
        if held and less(held, version) then
            redis.call('UNLINK', KEYS[number + 1])
        end
    end
end

