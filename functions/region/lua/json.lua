-- Writes and reads JSON texts with one character per byte, in which copies and inspections reply. For other arguments
-- and replies, cjson and the server's own encoding suffice.
--
-- Guarantees: every server writes the same text for the same value, unlike cjson.

-- Lua allows 200 local names per function, so names that only one function needs are in a block of their own.
local text, fillEscapes
-- The bytes that a JSON string escapes here. The class lists the others, most of them in its first range, as that is
-- fast.
local ESCAPED = '[^^-~#-[%] !]'
do
local escaped, isFilled = {}, false
local function escape(character)
  local text = escaped[character]
  if not text then
    text = format('\\u%04x', byte(character))
    escaped[character] = text
  end
  return text
end

-- Fills the table of escapes, which pays off for many or long texts.
function fillEscapes()
  for code = 0, 255 do escape(string.char(code)) end
  isFilled = true
end

-- Returns the replacement for gsub: the table for a long text, since a lookup is much faster than a call and binary
-- values are escaped byte by byte; the function for a short one, since filling the table takes time too.
local function escaperFor(value)
  if #value >= 4096 and not isFilled then fillEscapes() end
  return isFilled and escaped or escape
end

-- The JSON string of a value, with one character per byte.
function text(value)
  if not string.find(value, ESCAPED) then return '"' .. value .. '"' end
  return '"' .. string.gsub(value, ESCAPED, escaperFor(value)) .. '"'
end
end

local fold
do
local folded

-- Turns a string that cjson has decoded back into one byte per character: U+0080 to U+00FF come as two bytes.
function fold(value)
  if not string.find(value, '[\194\195]') then return value end
  if not folded then
    folded = {}
    for code = 128, 255 do folded[string.char(code < 192 and 194 or 195, 128 + code % 64)] = string.char(code) end
  end
  return (string.gsub(value, '[\194\195][\128-\191]', folded))
end
end

-- The JSON text, with one character per byte, of a string, an integer, null, or a list of these.
local function encode(value)
  local kind = type(value)
  if kind == 'string' then return text(value) end
  if kind == 'number' then return whole(value) end
  if kind ~= 'table' then return 'null' end
  local items = {}
  for index, item in ipairs(value) do items[index] = encode(item) end
  return '[' .. concat(items, ',') .. ']'
end

-- The minimum size of the encoded value in bytes. Counting is cheap, while encoding a value only to find it too large
-- could block the server for seconds.
local function leastBytes(value)
  if type(value) == 'string' then return #value end
  if type(value) ~= 'table' then return 1 end
  local sum = 0
  for _, item in ipairs(value) do sum = sum + leastBytes(item) end
  return sum
end
