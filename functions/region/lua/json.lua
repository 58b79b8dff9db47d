-- JSON texts with one character per byte, in which copies and inspections reply.
--
-- Guarantees: every server writes the same text for the same value, which cjson does not.

-- Lua takes 200 names of one block; what only one function needs has a block of its own.
local text, fillEscapes
-- What a JSON string has escaped here. The class says what it has not, most of it in its first range, as that is fast.
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

function fillEscapes()
  for code = 0, 255 do escape(string.char(code)) end
  isFilled = true
end

-- What escapes the bytes of a text: a table for a long one, since a lookup is much faster than a call and binary values
-- are escaped byte by byte; the function for a short one, since filling the table takes its time too.
local function escaperFor(value)
  if #value >= 4096 and not isFilled then fillEscapes() end
  return isFilled and escaped or escape
end

-- A JSON string with one character per byte. Written here rather than by cjson, so that every server writes the same.
function text(value)
  if not string.find(value, ESCAPED) then return '"' .. value .. '"' end
  return '"' .. string.gsub(value, ESCAPED, escaperFor(value)) .. '"'
end
end

local fold
do
local folded

-- A string as cjson reads it, with one byte per character again: those from U+0080 to U+00FF come as two.
function fold(value)
  if not string.find(value, '[\194\195]') then return value end
  if not folded then
    folded = {}
    for code = 128, 255 do folded[string.char(code < 192 and 194 or 195, 128 + code % 64)] = string.char(code) end
  end
  return (string.gsub(value, '[\194\195][\128-\191]', folded))
end
end

-- A value as a JSON text with one character a byte, for what copies: strings, integers, nothing, and lists of these.
local function encode(value)
  local kind = type(value)
  if kind == 'string' then return text(value) end
  if kind == 'number' then return whole(value) end
  if kind ~= 'table' then return 'null' end
  local items = {}
  for index, item in ipairs(value) do items[index] = encode(item) end
  return '[' .. concat(items, ',') .. ']'
end

-- What the value takes at least when it is encoded, in bytes. Counting is cheap; encoding what then proves too large
-- would keep the server from everything else for seconds.
local function leastBytes(value)
  if type(value) == 'string' then return #value end
  if type(value) ~= 'table' then return 1 end
  local sum = 0
  for _, item in ipairs(value) do sum = sum + leastBytes(item) end
  return sum
end
