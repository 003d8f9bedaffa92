-- Requests for wrk, and its summary as one line of JSON.
--
-- Each call of `request` gives one turn of a connection: the bytes that it sends before it waits for
-- all answers. A turn is patched in place: devices, timestamps and values change, its length does
-- not. Where it is compressed there are several to begin with, and each has its turn. Arguments, from
-- `wrk.rs`: the files of the turns and of the devices, and numbers and lists of them as JSON.
local ffi = require("ffi")

local threads = {}
local plan = {}
local turn, length, devices, starts
-- The places of all digits of values, from the start of an event.
local digits, digits_count = nil, 0
-- The digits of a timestamp, which many events in a row share.
local stamp, stamped = ffi.new("uint8_t[13]"), nil
local ready = {}

local function read(path)
  return assert(io.open(path, "rb")):read("*a")
end

local function write_stamp(value)
  stamped = value
  for place = 12, 0, -1 do
    local rest = math.floor(value / 10)
    stamp[place] = 48 + value - rest * 10
    value = rest
  end
end

-- A list of JSON as an array from 0, and its length.
local function list_of(text)
  local found = {}
  for number in text:gmatch("%d+") do
    table.insert(found, tonumber(number))
  end
  return ffi.new("int32_t[?]", #found + 1, found), #found
end

-- In wrk's own state, once for each thread.
function setup(thread)
  thread:set("first", #threads)
  table.insert(threads, thread)
end

-- In the thread's state, as all that follows but `done`.
function init(arguments)
  for name, number in arguments[3]:gmatch('"([%w_]+)":(%d+)') do
    plan[name] = tonumber(number)
  end
  for name, list in arguments[3]:gmatch('"([%w_]+)":(%b[])') do
    plan[name], plan[name .. "_count"] = list_of(list)
  end
  local text = read(arguments[1])
  length = #text
  local from = 1
  for number = 0, plan.lengths_count - 1 do
    ready[number] = text:sub(from, from + plan.lengths[number] - 1)
    from = from + plan.lengths[number]
  end
  local places = {}
  for index = 0, plan.values_at_count - 1 do
    for digit = 0, plan.values_digits[index] - 1 do
      table.insert(places, plan.values_at[index] + digit)
    end
  end
  digits, digits_count = ffi.new("int32_t[?]", #places + 1, places), #places
  turn = ffi.new("uint8_t[?]", length)
  ffi.copy(turn, text, length)
  devices = read(arguments[2])
  starts = ffi.new("int32_t[?]", plan.events)
  for event = 0, plan.events - 1 do
    local request = math.floor(event / plan.batch)
    starts[event] = request * plan.request + plan.head + event % plan.batch * plan.stride
  end
  position, connections = plan.position + first, plan.connections
  math.randomseed(position)
end

function request()
  if plan.lengths_count > 0 then
    local own = ready[position % plan.lengths_count]
    position = position + plan.threads
    return own
  end
  local ids = ffi.cast("const uint8_t *", devices)
  local devices_at, devices_at_count = plan.devices_at, plan.devices_at_count
  local timestamps_at, timestamps_at_count = plan.timestamps_at, plan.timestamps_at_count
  local number = position * plan.events
  for event = 0, plan.events - 1 do
    local at = starts[event]
    local id = ids + number % plan.listed * plan.digits
    for index = 0, devices_at_count - 1 do
      ffi.copy(turn + at + devices_at[index], id, plan.digits)
    end
    local moment = plan.oldest + math.floor(number / plan.together) % plan.span
    if moment ~= stamped then
      write_stamp(moment)
    end
    for index = 0, timestamps_at_count - 1 do
      ffi.copy(turn + at + timestamps_at[index], stamp, 13)
    end
    local random = math.random(0, 999999999)
    for index = 0, digits_count - 1 do
      local rest = math.floor(random / 10)
      turn[at + digits[index]] = 48 + random - rest * 10
      random = rest
    end
    number = number + 1
  end
  position = position + plan.threads
  return ffi.string(turn, length)
end

-- wrk adds latencies that requests would have had, had they been sent at the mean pace: no use for
-- turns of several requests. Takes them back, from the longest down, and returns the values that
-- these shares of all exceed.
local function exceeded_by(shares, latency, pace)
  local found, added, turns = {}, {}, 0
  for at = #latency, 1, -1 do
    local value, count = latency(at)
    local residue = value % pace
    count = count - (value > pace and added[residue] or 0)
    added[residue] = (added[residue] or 0) + (value >= pace * 2 and count or 0)
    turns = turns + count
    table.insert(found, { value, turns })
  end
  for at, share in ipairs(shares) do
    for _, entry in ipairs(found) do
      shares[at] = entry[1]
      if entry[2] > turns * share then
        break
      end
    end
  end
  return unpack(shares)
end

-- In wrk's own state, after all threads.
function done(summary, latency)
  local used, last, errors = os.clock(), 0, summary.errors
  for _, thread in ipairs(threads) do
    last = math.max(last, thread:get("position"))
  end
  local requests_each = math.floor(summary.requests / threads[1]:get("connections"))
  local pace = math.floor(summary.duration / math.max(requests_each, 1))
  print(('{"requests":%d,"elapsed_us":%d,"position":%d,"refused":%d,"broken":%d,' ..
    '"cpu_seconds":%f,"latency_us":{"p50":%d,"p90":%d,"p99":%d,"p99.9":%d,"max":%d}}'):format(
    summary.requests, summary.duration, last, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout, used,
    exceeded_by({ 0.5, 0.1, 0.01, 0.001, 0 }, latency, pace)))
end
