/** Stops scripts half-way. */

/** Lua that ends a script at its command number `at`: that one and all later ones fail. */
export function stoppingAt(at: number): string {
  return `local left, whole_redis = ${at}, redis
local function stopping(run)
  return function(...)
    left = left - 1
    if left <= 0 then error('stopped', 0) end
    return run(...)
  end
end
local redis = setmetatable({ call = stopping(redis.call), pcall = stopping(redis.pcall) }, { __index = redis })
`;
}
