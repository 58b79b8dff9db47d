/** Further scripts in the form of `scriptTexts`. */
export const scriptTextsOfNames: Readonly<Record<string, string>> = {
  'the environment of a script': `
return redis.sha1hex('abc')
return redis.sha1hex(5)
return redis.sha1hex()
return redis.error_reply('x')
return redis.error_reply('-x y')
return redis.error_reply('')
return redis.error_reply()
return redis.error_reply(1)
return redis.status_reply('x')
return {redis.REDIS_VERSION,redis.REDIS_VERSION_NUM,redis.LOG_DEBUG,redis.LOG_WARNING,redis.REPL_ALL,redis.REPL_AOF,redis.REPL_SLAVE,redis.REPL_REPLICA,redis.REPL_NONE}
local t={} for k,v in pairs(redis) do t[#t+1]=k..':'..type(v) end table.sort(t) return table.concat(t,' ')
local t={} for k in pairs(math) do t[#t+1]=k end table.sort(t) return table.concat(t,' ')
local t={} for k in pairs(table) do t[#t+1]=k end table.sort(t) return table.concat(t,' ')
local t={} for k in pairs(string) do t[#t+1]=k end table.sort(t) return table.concat(t,' ')
local t={} for k in pairs(cjson) do t[#t+1]=k end table.sort(t) return table.concat(t,' ')
local t={} for k in pairs(cmsgpack) do t[#t+1]=k end table.sort(t) return table.concat(t,' ')
local t={} for k in pairs(_G) do t[#t+1]=k end table.sort(t) return table.concat(t,' ')
redis.x=1
redis.call=1
cjson.foo=1
string.x=1
math.x=1
_G.x=1
rawset(string,'x',1)
return {tostring(getmetatable(redis)),tostring(getmetatable(cjson))}
return _G.nope
return rawget(_G,'nope')
return {type(_G._G),_G.redis==redis,rawget(_G,'redis')==redis}
return redis.foo
return redis.setresp(2)
return redis.setresp(4)
return redis.setresp()
return redis.log('x')
return redis.log('a','b')
return redis.log(17,'b')
return redis.log(0,'b',{})
return redis.replicate_commands()
return redis.set_repl()
return redis.set_repl(99)
return redis.set_repl(redis.REPL_ALL)
return redis.breakpoint()
return redis.debug('x')
return redis.acl_check_cmd('set','k')
return redis.acl_check_cmd('foo')
return redis.acl_check_cmd()
return {type(os)}
return {type(print)}
return {type(debug)}
return {type(setfenv)}
return {type(dofile)}
return collectgarbage()
return collectgarbage('xx')
return _VERSION
return next({})
return {next({5})}
return next(5)
return pairs(5)
return tostring()
return {tostring(nil),tostring(true),tostring(5),tostring(cjson.null)}
return tostring(setmetatable({},{__tostring=function() return 'own' end}))
return load('return 1')
local n=0 local f=load(function() n=n+1 return ({'return ','7'})[n] end) return f()
return loadstring('return ...')(1,2)
return loadstring('return redis.call("get","k")')()
return loadstring('return foo')()
return loadstring('x y')
local f,e=loadstring('x y') return e
local f,e=loadstring('x y','=foo') return e
loadstring('error("x")')()
loadstring('error("x")','@bar')()
local f,e=loadstring(string.dump(function() return 1 end)) return {tostring(f),e}
math.randomseed(5) return {tostring(math.random()),math.random(1,100),math.random(10)}
math.randomseed(-7.5) return {tostring(math.random()),math.random(1,100),math.random(10)}
math.randomseed(2^40+3) return {tostring(math.random()),math.random(1,100),math.random(10)}
return math.random(0)
return math.random(5,1)
return math.random(1,2,3)
return math.random('x')
return math.randomseed()
return cjson.encode({1,2,{a='b'}})
return cjson.encode({1,2,nil,4})
return cjson.encode(cjson.decode('{"a":[1,2,{"b":null}],"c":1e3}').a)
return cjson.decode('{x')
return cjson.encode(function() end)
return cjson.decode('[1,2,3]')
return {cmsgpack.unpack(cmsgpack.pack({1,2,3},'x'))}
return cmsgpack.pack({a=1})
return struct.pack('>I4hB',1,2,3)
return {struct.unpack('>I2',struct.pack('>I2',513))}
return {bit.band(12,10),bit.bor(12,10),bit.tohex(255),bit.lshift(1,31)}
local t={3,1,2} table.sort(t,function(a,b) return a>b end) return t
local n=0 for i=1,100000 do n=n+i end return n
local t={} for w in string.gmatch('one two','%a+') do t[#t+1]=w end return t`,
  'cursors and all keys': `
local r=redis.call('keys','*') table.sort(r) return r
local r=redis.call('keys','[kl]*') table.sort(r) return r
redis.call('set','ka','1') redis.call('del','k') local r=redis.call('keys','k*') table.sort(r) return r
redis.call('set','gone','1','pxat','1') redis.call('rename','l','l9') local r=redis.call('keys','*') table.sort(r) return r
return redis.call('dbsize')
redis.call('set','more','1') redis.call('del','l','none') return redis.call('dbsize')
local all,c={},'0' repeat local r=redis.call('scan',c,'match','k*','count','1') c=r[1] for _,k in ipairs(r[2]) do all[#all+1]=k end until c=='0' table.sort(all) return all
local all,c={},'0' repeat local r=redis.call('scan',c,'type','zset') c=r[1] for _,k in ipairs(r[2]) do all[#all+1]=k end until c=='0' return all
return redis.call('scan','x')
return redis.call('scan','0','foo')
return redis.call('scan','0','count','0')
return redis.call('keys')
local c,all='0',{} repeat local r=redis.call('hscan','h',c,'count','1') c=r[1] for i=1,#r[2],2 do all[#all+1]=r[2][i]..'='..r[2][i+1] end until c=='0' table.sort(all) return all
local r=redis.call('sscan','s','0') table.sort(r[2]) return r
local r=redis.call('sscan','s','0','match','a*') return r
return redis.call('zscan','z','0','match','m')
return redis.call('hscan','none','x')
return redis.call('hscan','k','0')
return redis.call('sscan','none','0')
for _,k in ipairs(redis.call('keys','k*')) do redis.call('del',k) end return redis.call('exists','k','k1')
for _,k in ipairs(redis.call('scan','0','match','l*')[2]) do redis.call('expire',k,'100') end return redis.call('ttl','l')
redis.call('del',unpack(redis.call('keys','*'))) return redis.call('dbsize')`,
};
