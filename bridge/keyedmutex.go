package bridge

import "sync"

// keyedMutex is one mutex a key; a key costs memory only while somebody holds or waits for it.
type keyedMutex struct {
	mu   sync.Mutex // guards the following field
	keys map[string]*countedMutex
}

type countedMutex struct {
	sync.Mutex
	users int // guarded by keyedMutex.mu
}

// lock takes the mutex of key and returns what releases it.
func (k *keyedMutex) lock(key string) (unlock func()) {
	k.mu.Lock()
	if k.keys == nil {
		k.keys = make(map[string]*countedMutex)
	}
	m := k.keys[key]
	if m == nil {
		m = &countedMutex{}
		k.keys[key] = m
	}
	m.users++
	k.mu.Unlock()
	m.Lock()
	return func() {
		m.Unlock()
		k.mu.Lock()
		if m.users--; m.users == 0 {
			delete(k.keys, key)
		}
		k.mu.Unlock()
	}
}
