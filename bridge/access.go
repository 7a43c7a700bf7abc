package bridge

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"
	"sync"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
)

// An AE's pointOfAccess (TS-0001, 9.6.5) says where its CSE reaches it. Its device's own addresses never reach a CSE (S42): a
// URL of the bridge with a token of the AE's own stands there instead, or nothing where the CSE doesn't call the bridge. The
// device sees what it wrote. Every other byte of the content is kept.

// invitation is the access of an AE that a request on its way tells the CSE of. Until its answer is there it is known here
// alone: a CSE may verify it first (TS-0004, 7.4.8.2.1).
type invitation struct {
	access Access
	dev    *Device
	cse    *CSE
	aei    string     // "": the CSE is about to give it
	peer   *coap.Peer // the session on which it was asked for
}

// invitations are those that wait for an answer: no more than there are workers.
type invitations struct {
	mu      sync.Mutex // guards the following field
	pending map[[sha256.Size]byte]*invitation
}

// find looks a token up. The time that it takes says nothing of the tokens that there are (S43).
func (p *invitations) find(token string) *invitation {
	sum := sha256.Sum256([]byte(token))
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pending[sum]
}

func (p *invitations) add(i *invitation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pending == nil {
		p.pending = make(map[[sha256.Size]byte]*invitation)
	}
	p.pending[sha256.Sum256([]byte(i.access.Token))] = i
}

func (p *invitations) remove(i *invitation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pending, sha256.Sum256([]byte(i.access.Token)))
}

// newToken makes a path segment that nobody guesses (S43).
func newToken() string {
	var random [accessTokenSize]byte
	rand.Read(random[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(random[:])
}

// invite makes a point of access of the bridge for the AE of aei, or renews the one that it has, while a request of j tells
// the CSE of it. poa is what the device wrote. withdraw has to follow.
func (b *Bridge) invite(j *job, aei string, poa []string) *invitation {
	i := &invitation{access: Access{POA: poa}, dev: j.dev, cse: j.cse, aei: aei, peer: j.peer}
	if j.cse.Downlink != DownlinkListen {
		return i
	}
	if known, ok := b.cfg.Directory.Access(j.cse.Name, aei); ok && aei != "" && slices.Contains(j.dev.Bound, aei) {
		i.access.Token = known.Token
	}
	if i.access.Token == "" {
		i.access.Token = newToken()
	}
	b.invited.add(i)
	return i
}

// withdraw ends what invite began: the CSE has answered, and the bindings know the access or nobody does.
func (b *Bridge) withdraw(i *invitation) {
	if i != nil && i.access.Token != "" {
		b.invited.remove(i)
	}
}

// urls is the pointOfAccess for the CSE; nil: none.
func (i *invitation) urls() []string {
	if i.access.Token == "" {
		return nil
	}
	return []string{i.cse.POA + "/" + i.access.Token}
}

// outgoing is j's request as it goes up: no URL in it is one that the device wrote and that the CSE would call (S42).
func (b *Bridge) outgoing(ctx context.Context, j *job) (*onem2m.Request, error) {
	out := *j.request
	if onem2m.MisreadJSON(out.Content, out.MediaType) { // in a NOTIFY as well, of which a nested From was judged (S41)
		return nil, &refusedContent{RefusedMalformed}
	}
	if j.cse.Downlink == DownlinkListen && slices.ContainsFunc(out.Query, asksForPOA) {
		return nil, &refusedContent{RefusedPOA}
	}
	if out.NotificationURIs != nil {
		var err error
		if out.NotificationURIs, err = b.notified(ctx, j, out.NotificationURIs); err != nil {
			return nil, err
		}
	}
	if out.Operation != onem2m.Create && out.Operation != onem2m.Update || len(out.Content) == 0 {
		return &out, nil
	}
	if err := b.redirect(ctx, j, &out); err != nil {
		return nil, err
	}
	if err := b.replacePOA(ctx, j, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// asksForPOA reports whether p lets through what has a certain pointOfAccess, of a resource, its child or its
// parent. With wildcards a device would find a neighbour's token out, letter by letter.
func asksForPOA(p onem2m.Parameter) bool {
	return strings.TrimPrefix(strings.TrimPrefix(p.Key, "c."), "p.") == "poa"
}

// replacePOA takes the device's addresses out of the AE that out creates or updates. A pointOfAccess of anything else is
// refused: the CSE would call it.
func (b *Bridge) replacePOA(ctx context.Context, j *job, out *onem2m.Request) error {
	own, n, err := pointsOfAccess(out.Content, out.MediaType)
	register := registers(out)
	switch {
	case err != nil:
		return err
	case n == 0 && (!register || j.cse.Downlink != DownlinkListen):
		return nil
	case n > 1 || !register && out.Operation == onem2m.Create:
		return &refusedContent{RefusedPOA}
	}
	aei := out.From
	if register && asksForAEID(aei) {
		aei = ""
	}
	if !register {
		if aei, err = b.ownAE(ctx, j); err != nil {
			return err
		}
	}
	j.invited = b.invite(j, aei, own)
	if urls := j.invited.urls(); urls != nil {
		out.Content, err = onem2m.SetPOA(out.Content, out.MediaType, urls)
	} else {
		out.Content, err = onem2m.MapLists(out.Content, out.MediaType, "poa", func([]string) ([]string, bool) { return nil, true })
	}
	if err != nil {
		return err
	}
	// The one that was there may have stood elsewhere than in the AE itself.
	left, n, err := pointsOfAccess(out.Content, out.MediaType)
	if err == nil && (n > 1 || !slices.Equal(left, j.invited.urls())) {
		err = &refusedContent{RefusedPOA}
	}
	return err
}

// pointsOfAccess returns how many lists of addresses content holds, and the last of them. What is there is never nil, so that
// an AE whose device removes its addresses has a list as well.
func pointsOfAccess(content []byte, media string) (poa []string, n int, err error) {
	_, err = onem2m.MapLists(content, media, "poa", func(list []string) ([]string, bool) {
		n++
		poa = append([]string{}, list...)
		return nil, false
	})
	if err == nil && n > 0 && !(Access{POA: poa}).Valid() {
		err = &refusedContent{RefusedPOA}
	}
	return poa, n, err
}

// ownAE returns the AE-ID of the device's own AE that j updates; an error when it is none. The AE's resource ID is its AE-ID; any
// other address is a name, which may be another AE's by now, or be an AE-ID of the device's by design: the CSE is asked.
func (b *Bridge) ownAE(ctx context.Context, j *job) (string, error) {
	if aei := j.cse.stem(j.cse.relative(j.request.To)); slices.Contains(j.dev.Bound, aei) {
		return aei, nil
	}
	resp, err := b.do(ctx, j, &onem2m.Request{Operation: onem2m.Retrieve, To: j.request.To, From: j.request.From,
		RequestID: newRequestID(), ReleaseVersion: j.request.ReleaseVersion})
	if err != nil {
		return "", err
	}
	aei, err := onem2m.AEID(resp)
	if err != nil || resp.Status != onem2m.StatusOK || !slices.Contains(j.dev.Bound, aei) {
		return "", &refusedContent{RefusedPOA}
	}
	return aei, nil
}

// addressed returns the AE-ID of the AE at j's To, as far as the address tells: one that the device made there, the name that
// stands for the ID, or the ID itself.
func (b *Bridge) addressed(j *job) string {
	to := j.cse.relative(j.request.To)
	if known, ok := b.named.Load(address{j.dev.Name, j.cse.Name, to}); ok {
		return known.(string)
	}
	if aei, ok := cutSegment(to, j.cse.Base); ok {
		return aei
	}
	return j.cse.stem(to)
}

// bindAE records that aei is j's device's, reached by access, and that there is something to receive on its session now.
func (b *Bridge) bindAE(j *job, aei string, access Access) error {
	if err := b.cfg.Directory.Bind(j.s.peer.ID, j.cse.Name, aei, access); err != nil {
		return wrapBinding(err)
	}
	b.live.add(j.dev.Name, j.peer)
	b.watch(j.dev, j.cse, aei)
	return nil
}

// keepAccess records how j's device's own AE is reached after the UPDATE of its pointOfAccess.
func (b *Bridge) keepAccess(j *job) error {
	if j.invited == nil || j.request.Operation != onem2m.Update {
		return nil
	}
	return b.bindAE(j, j.invited.aei, j.invited.access)
}

// showAnswer is a CSE's answer as j's device may see it.
func (b *Bridge) showAnswer(j *job, resp *onem2m.Response) (*onem2m.Response, error) {
	content, err := b.show(j.cse, j.invited, resp.Content, resp.MediaType)
	if err != nil {
		return nil, err
	}
	shown := *resp
	shown.Content = content
	if j.cse.Downlink != DownlinkListen {
		b.showKept(j, &shown)
	}
	return &shown, nil
}

// show puts the devices' own addresses back where content has the bridge's for them: no token reaches a device.
func (b *Bridge) show(cse *CSE, i *invitation, content []byte, media string) ([]byte, error) {
	if cse.Downlink != DownlinkListen || len(content) == 0 {
		return content, nil
	}
	shown, err := onem2m.MapLists(content, media, "poa", func(list []string) (to []string, changed bool) {
		for _, uri := range list {
			token, ours := strings.CutPrefix(uri, cse.POA+"/")
			if !ours {
				to = append(to, uri)
				continue
			}
			changed = true
			if i != nil && token == i.access.Token {
				to = append(to, i.access.POA...)
			} else if known, ok := b.cfg.Directory.Reachable(token); ok && b.cses[known.CSE] == cse {
				to = append(to, known.Access.POA...)
			}
		}
		return to, changed
	})
	if err != nil {
		return nil, err
	}
	return b.redact(cse, i, shown), nil
}

// redact makes tokens unreadable wherever else content has them, as in the text of an error that names whom a CSE didn't reach. What
// looks like a token and leads nowhere stays, and so does the length of all.
func (b *Bridge) redact(cse *CSE, i *invitation, content []byte) []byte {
	_, host, _ := strings.Cut(cse.POA, "://")
	host, _, _ = strings.Cut(host, "/")
	if host == "" || !bytes.Contains(content, []byte(host)) {
		return content
	}
	own := false
	for start := 0; start < len(content); {
		n := bytes.IndexFunc(content[start:], func(c rune) bool { return !strings.ContainsRune(base64url, c) })
		if n < 0 {
			n = len(content) - start
		}
		for _, size := range [...]int{n, minAccessToken} { // in CBOR the head of the next item may look like more of it
			if size < minAccessToken || size > min(n, maxAccessToken) || !b.isToken(i, string(content[start:start+size])) {
				continue
			}
			if !own {
				content, own = bytes.Clone(content), true
			}
			copy(content[start:], bytes.Repeat([]byte("x"), size))
			break
		}
		start += n + 1
	}
	return content
}

func (b *Bridge) isToken(i *invitation, token string) bool {
	if i != nil && token == i.access.Token || b.invited.find(token) != nil {
		return true
	}
	_, known := b.cfg.Directory.Reachable(token)
	return known
}

// showKept adds the addresses that the device wrote into its AE and that the CSE was not told of.
func (b *Bridge) showKept(j *job, resp *onem2m.Response) {
	kept := j.invited != nil && len(j.invited.access.POA) > 0
	for _, aei := range j.dev.Bound {
		access, _ := b.cfg.Directory.Access(j.cse.Name, aei)
		kept = kept || len(access.POA) > 0
	}
	if !kept || len(resp.Content) == 0 || !resp.Status.Success() {
		return
	}
	aei, err := onem2m.AEID(resp)
	if err != nil { // no AE, or not all of it
		return
	}
	access, _ := b.cfg.Directory.Access(j.cse.Name, aei)
	if j.invited != nil && (j.invited.aei == aei || j.invited.aei == "") {
		access = j.invited.access
	} else if !slices.Contains(j.dev.Bound, aei) {
		return
	}
	if len(access.POA) == 0 {
		return
	}
	if content, err := onem2m.SetPOA(resp.Content, resp.MediaType, access.POA); err == nil {
		resp.Content = content
	}
}

// refusedContent is a request whose content can't go up as it is: 4000.
type refusedContent struct{ why Refusal }

func (e *refusedContent) Error() string { return "bridge: content is not carried: " + string(e.why) }
