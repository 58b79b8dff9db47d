/**
 * Scripts that a plain Redis and Lockstep have to answer alike, one per line; `~` stands for a line break in them.
 * They get the keys `k1` and `k2` and the arguments `a1` and `a2`, and run on the data of `scriptBeginning`.
 */
export const scriptTexts: Readonly<Record<string, string>> = {
  'values that scripts return': `
return 1
return -1.9
return 3.999
return 2^53
return 2^63
return -2^63
return 1e300
return 0/0
return -0.5
return nil
return
return false
return true
return {1,2,nil,4}
return {1,{2,{3}},false,true,'x',1.9,-1.9}
return {}
return ''
return 'a\\0b\\255'
return {ok='fine'}
return {ok='two~words'}
return {ok=1}
return {err='CODE words'}
return {err='two\\r\\nlines'}
return {err='-x'}
return {err=5}
return {ok='x',err='y'}
return {1, ok='x'}
return {1,{err='foo bar'},{ok='fine'}}
return {double=3.5}
return {map={a=1}}
return {set={a=true}}
return {big_number='12345678901234567890'}
return {verbatim_string={format='txt',string='abc'}}
return function() end
return {function() end, 1}
return coroutine.create(function() end)
return 1,2,3
return setmetatable({},{__index=function(t,k) return 'x'..tostring(k) end})
return setmetatable({err='z'},{})
local t = {} for i=1,50 do t = {t} end return t
return {0.1 + 0.2, tostring(0.1 + 0.2)}
return tostring(1e15)..tostring(2^53)..tostring(-0)
return ...
return select('#', ...)
return {KEYS[1], KEYS[2], KEYS[3], ARGV[1], #ARGV}
KEYS[1]='q' return KEYS
return (KEYS)
(function() end)() return 1`,
  'errors that scripts raise': `
return foo
foo = 1
function f() end
error('x')
error('x', 0)
error('x', 2)
error()
error(nil)
error(5)
error(true)
error({err='My e'})
error({err='My e', source='q', line=5, foo='x'})
error({err=5})
error({err=''})
error({err='two\\nlines'})
error('two\\nlines')
assert(false)
assert(nil, 'no')
return assert(nil,{err='tbl'})
return assert(1, 'unused')
~~error('third line')
~local function f()~  error('third')~end~f()
~local function f()~  return error('third')~end~return f()
~~local function f() return redis.call('get','l') end~return f()~
~local ok,e=pcall(redis.call,'get','l')~error(e)
local e=redis.pcall('get','l') error(e)
~local e=redis.pcall('get','l')~error(e)
local x = nil + 1
local t = nil; return t.x
return KEYS.x.y
return ARGV + 1
return nofunc()
redis.nofunc()
string.nofunc()
return ('x'):bad()
return #nil
return {} .. 'x'
return 1 < 'x'
local function f() return 1 + f() end return f()
return string.format('%d', 'x')
return string.rep('x', -1)
local t={} for i=1,8100 do t[i]='x' end return redis.call('rpush','big',unpack(t))
return xpcall(function() error('q') end, function(m) return 'handled '..m end)
return {xpcall(function() error('q') end, function(m) return 'handled '..m end)}
return {xpcall(function() error({err='q'}) end, function(m) return m end)}
local ok,e=xpcall(redis.call,function(e) return e end,'get','l') return {tostring(ok),type(e)}
local ok,e=xpcall(function() return redis.call('get','l') end,function(e) return e end) return e`,
  'texts that do not compile': `
x x
end
return 1; return 2
return (function() end
local a = "x
x = = 2
goto x
return 5 // 2
return 1 --[[ open
return 1 -- comment
--[==[ long ~ comment ]==] return 2
# comment
~~return x x
return [[a~b]]
end) (function()
return 1 end return function()
end) local redis = 1 return (function()
; return 1
local \u0065nd = 1
return '\\q'`,
  'lines of flags': `
#!lua~return 1
#!lua flags=no-writes~return redis.call('set','a','b')
#!lua flags=no-writes~return redis.pcall('set','a','b')
#!lua flags=no-writes~return redis.call('get','k')
#!lua flags=no-writes~return redis.call('spop','s')
#!lua flags=foo~return 1
#!lua flags=no-writes,foo~return 1
#!lua flags=~return 1
#!lua flags=,~return 1
#!lua name=x~return 1
#!lua foo~return 1
#!lua flags=allow-oom,allow-stale,no-cluster,allow-cross-slot-keys~return redis.call('set','a','b')
#!lua flags=no-writes flags=allow-oom~return redis.call('set','a','b')
#!lua "flags=no-writes"~return redis.call('set','a','b')
#!lua 'unbalanced~return 1
#!Lua~return 1
#!python~return 1
#!~return 1
#! lua~return 1
#!lua
#!lua~return x x
#!lua~~error('x')
-- c~#!lua~return 1`,
  'errors that are caught': `
return {pcall(error, {foo=1})}
local ok,e=pcall(error,{foo=1}) return type(e)
local ok,e=pcall(error,{err='x',foo=1}) return {type(e), e}
local ok,e=pcall(error,{err=5}) return type(e)
local ok,e=pcall(error,5) return type(e)
local ok,e=pcall(error,'x',2) return e
local ok,e=pcall(error,nil) return type(e)
local ok,e=pcall(function() error({err='abc'}) end) return e
return {pcall(redis.call,'set','x','1')}
return {pcall(redis.call,'get','l')}
return {pcall(redis.call)}
return {pcall(function() return 1,2,3 end)}
return {pcall(function() local x = nil; x() end)}
local e=redis.pcall('get','l') return {1,e,3}
local e=redis.pcall('foo') local t={} for k,v in pairs(e) do t[#t+1]=k..'='..tostring(v) end table.sort(t) return t
local e=redis.error_reply('xx') local t={} for k,v in pairs(e) do t[#t+1]=k..'='..tostring(v) end table.sort(t) return t
redis.pcall('lpush','k','x') redis.call('set','after','1') return redis.call('get','after')
redis.call('set','a','1') local ok = pcall(redis.call,'lpush','a','x') redis.call('incr','a') return {tostring(ok), redis.call('get','a')}
redis.call('set','a','1') redis.call('incr','l')
redis.call('incr','n') redis.call('hset','h','f','2') error('undo')
redis.call('incr','n') return redis.error_reply('LIMIT kept')
local ok = pcall(function() redis.call('set','a','1') error('x') end) return redis.call('get','a')
local co=coroutine.create(function() return redis.call('set','co','1') end) return {coroutine.resume(co)}
local co=coroutine.create(function() return redis.call('get','l') end) local ok,e=coroutine.resume(co) return {type(e), tostring(ok), e.err}
local co=coroutine.wrap(function() return redis.call('get','l') end) return co()
local co=coroutine.wrap(function(a) while true do a = coroutine.yield(redis.call('incrby','n',a)) end end) return {co(1),co(2),co(3)}`,
  'calls of commands': `
return redis.call('foo')
return redis.pcall('foo')
return redis.call('')
return redis.call('set ','a','b')
return redis.call('get')
return redis.call('get','a','b')
return redis.call('GeT','k')
return redis.call()
return redis.pcall()
return redis.call(true)
return redis.call({})
return redis.call(5)
return redis.call('set','k',nil)
return redis.pcall('set','k',{})
return redis.call('set','a','b','c','d')
return redis.call('set','n',1.5) and redis.call('get','n')
return redis.call('set','n',1e15) and redis.call('get','n')
return redis.call('set','n',2^63) and redis.call('get','n')
return redis.call('set','n',-0.0) and redis.call('get','n')
return redis.call('set','n',0/0) and redis.call('get','n')
return redis.call('set','n',1e18) and redis.call('get','n')
return redis.call('set','n',0.1) and redis.call('get','n')
return redis.call('set','bytes','\\0\\255\\r\\n') and redis.call('get','bytes')
return redis.call('type','l')
return redis.call('type','none')
return redis.call('mget','k','none','l')
return redis.call('hmget','none','a')
return redis.call('hgetall','h')
return redis.call('geopos','none','a')
return redis.call('lrange','l',0,-1)
return redis.call('zrange','z','0','-1','withscores')
return redis.call('zscore','z','m')
return redis.call('incrbyfloat','ff','0.1')
return redis.call('hincrbyfloat','h','x','2.50')
return redis.call('incrby','big','1')
return redis.call('incrby','big','100')
return redis.call('exists','k','k','none')
return redis.call('lpop','l')
return redis.call('lpop','l','9')
return redis.call('rename','k','k3') and redis.call('get','k3')
return redis.call('rename','none','k3')
return redis.call('copy','k','k4') + redis.call('copy','none','k5')
return redis.call('del','k','none','l')
return redis.call('lmpop','2','none','l','left')
return redis.call('zmpop','1','z','min')
return redis.call('sort','nums')
return redis.call('sort','nums','desc','limit','0','2')
return redis.call('sort','nums','store','sorted') + redis.call('llen','sorted')
return redis.call('zunionstore','u','2','z','z','weights','2','3') and redis.call('zrange','u','0','-1','withscores')
return redis.call('zunion','x','a')
return redis.call('zunion','3','a')
return redis.call('zunion','0','a')
return redis.call('lmpop','0','a','left')
return redis.call('sintercard','5','a')
return redis.call('mset','a','1','b','2') and redis.call('mget','a','b')
return redis.call('mset','a','b','c')
return redis.call('hset','h','b','c','d')
return redis.call('setrange','k','2','zz') and redis.call('get','k')
return redis.call('bitfield','bits','set','u8','0','255','get','u4','4')
return redis.call('pfadd','hll','a','b') + redis.call('pfcount','hll','hll')
return redis.call('xadd','x','1-1','f','v')
redis.call('xadd','x','1-1','f','v') redis.call('xadd','x','2-1','f','w') return redis.call('xrange','x','-','+')
redis.call('xadd','x','1-1','f','v') redis.call('xgroup','create','x','g','0') return redis.call('xreadgroup','group','g','c','streams','x','>')
redis.call('xadd','x','1-1','f','v') return redis.call('xread','count','2','streams','x','none','0','0')
redis.call('xadd','x','maxlen','~','1','1-1','f','v') return redis.call('xlen','x')
return redis.call('xread','foo','streams','k','0')
return redis.call('xread','streams','k','k2','0')
return redis.call('xreadgroup','streams','k','0','x','y','z')
return redis.call('xread','count','x','streams','k','0')
return redis.call('XREAD','block','1','streams','x','0')
return redis.call('XREAD','block')
return redis.call('XREADGROUP','group','g','c','block','-1','streams','x','>')
redis.call('xadd','x','1-1','f','v') redis.call('xgroup','create','x','g','0') return redis.call('xautoclaim','x','g','c',0,0,'count',99999999)
redis.call('xadd','x','1-1','f','v') return redis.call('xtrim','x','maxlen','~','0','limit','x')
redis.call('xadd','x','1-1','f','v') return redis.call('xtrim','x','maxlen','=','0','limit','1')
return redis.call('xgroup','foo')
return redis.call('xgroup','create','k')
return redis.call('xgroup')
return redis.call('xinfo','foo','k')
return redis.call('spop','none')
local r=redis.call('spop','s','9') table.sort(r) return r
return redis.call('spop','k','1','2')
return redis.call('spop','s','x')
return redis.call('spop','k')
return redis.call('srandmember','none')
return redis.call('srandmember','none','2')
return redis.call('srandmember','s','x')
return redis.call('srandmember','s','1','2')
return redis.call('srandmember','one')
return redis.call('srandmember','one','-3')
return redis.call('hrandfield','none')
return redis.call('hrandfield','h','1','withvalues')
return redis.call('hrandfield','h','2','foo')
return redis.call('hrandfield','k','2')
return redis.call('zrandmember','none','-2','withscores')
return redis.call('zrandmember','z','1','withscores')
return redis.call('ping')
return redis.call('ping','x')
return redis.call('ping','x','y')
return redis.call('echo','x')
return #redis.call('time')
return redis.call('publish','c','m')`,
  'commands that no script may call': `
return redis.call('eval','return 1','0')
return redis.call('evalsha','x','0')
return redis.call('subscribe','x')
return redis.call('multi')
return redis.call('watch','k')
return redis.call('blpop','none','0')
return redis.call('wait','0','0')
return redis.call('script','load','x')
return redis.call('config','get','x')
return redis.call('auth','x')
return redis.call('client','list')
return redis.call('debug','sleep','0')
return redis.call('acl','list')
return redis.call('function','list')
return redis.call('shutdown')
return redis.call('replicaof','no','one')
return redis.pcall('save')`,
  expiries: `
return redis.call('set','e','v','ex','100') and redis.call('ttl','e')
return redis.call('set','e','v','px','100000') and redis.call('ttl','e')
return redis.call('set','e','v','pxat','1') and redis.call('get','e')
return redis.call('set','e','v','exat','5000000000') and redis.call('pexpiretime','e')
return redis.call('set','e','v','exat','5000000000') and redis.call('expiretime','e')
return redis.call('set','k','v','ex','0')
return redis.call('set','k','v','ex','x')
return redis.call('set','k','v','ex','9223372036854775807')
return redis.call('set','k','v','ex','5','px','6')
return redis.call('set','k','v','ex','5','keepttl')
return redis.call('set','k','v','nx','xx')
return redis.call('set','k','v','nx')
return redis.call('set','k','new','xx','get')
return redis.call('set','fresh','v','nx','ex','100') and redis.call('ttl','fresh')
return redis.call('setex','e','100','v') and redis.call('ttl','e')
return redis.call('setex','e','0','v')
return redis.call('psetex','e','x','v')
return redis.call('expire','k','100') + redis.call('ttl','k')
return redis.call('expire','k','-1') + redis.call('exists','k')
return redis.call('expire','none','100')
return redis.call('expire','k','x')
return redis.call('expire','k','100','nx','xx')
return redis.call('expire','k','100','foo')
return redis.call('expire','k','100','nx') + redis.call('expire','k','50','gt') + redis.call('expire','k','500','gt')
return redis.call('pexpireat','k','4000000000000') + redis.call('pexpiretime','k')
return redis.call('getex','k','ex','100') .. redis.call('ttl','k')
return redis.call('getex','k','ex','0')
return redis.call('getex','none','ex','100')
return redis.call('getex','none','ex','0')
return redis.call('getex','none','ex','9223372036854775807')
return redis.call('getex','k','ex','9223372036854775807')
return redis.call('getex','k','ex','x')
return redis.call('set','k','v','ex','0','ex','100') and redis.call('ttl','k')
return redis.call('set','k','v','ex','100','ex','0')
return redis.call('set','k','v','ex','9223372036854775')
return redis.call('set','k','v','px','9223372036854775807')
return redis.call('set','k','v','px','9223372036854775808')
return redis.call('set','k','v','exat','9223372036854775') and redis.call('exists','k') and redis.call('persist','k')
return redis.call('set','k','v','exat','9223372036854776')
return redis.call('set','k','v','pxat','9223372036854775807') and redis.call('get','k') and redis.call('persist','k')
return redis.call('setex','k','9223372036854775807','v')
return redis.call('setex','k','9214000000000000','v') and redis.call('persist','k')
return redis.call('psetex','k','9214000000000000000','v') and redis.call('persist','k')
return redis.call('psetex','k','9223372036854775807','v')
return redis.call('expire','k','9007199254740993') + redis.call('exists','k') + redis.call('persist','k')
return redis.call('expire','k','9223372036854775807')
return redis.call('expire','none','9223372036854775807')
return redis.call('expire','none','9223372036854775807','foo')
return redis.call('expireat','none','9007199254740993')
return redis.call('expireat','k','-9007199254740993') + redis.call('exists','k')
return redis.call('expireat','k','-9223372036854776')
return redis.call('pexpire','k','-9223372036854775808') + redis.call('exists','k')
return redis.call('pexpire','k','-9223372036854775809')
return redis.call('pexpireat','k','9223372036854775807') + redis.call('exists','k') + redis.call('persist','k')
return redis.call('pexpireat','k','9223372036854775808')
return redis.call('pexpire','k','9223372036854775807')
return redis.call('ttl','none') + redis.call('pttl','k')
return redis.call('persist','lasting') + redis.call('ttl','lasting')
return redis.call('incr','lasting') + redis.call('expiretime','lasting')
return redis.call('rename','lasting','moved') and redis.call('expiretime','moved')`,
};

/** The data that the scripts run on. */
export const scriptBeginning: readonly (readonly string[])[] = [
  'SET k v',
  'SET lasting 5 PXAT 4000000000000',
  'SET big 9007199254740993',
  'RPUSH l x y x',
  'RPUSH nums 3 1 2 10',
  'SADD s a b c',
  'SADD one 7',
  'ZADD z 1.5 m',
  'HSET h x 1',
].map((words) => words.split(' '));
